//! Replays the fuzz corpus, and mutations of it, without a fuzzer: a minute of fuzzing in each run.
//!
//! `FUZZ_ROUNDS` is the number of mutations in thousands, a target; `FUZZ_SEED` another seed. An
//! input that takes more memory than its target may ends the program; with `FUZZ_LAST=file` every
//! input is written there first.

use std::{fs, path::Path, time::Instant};

use compat_tests::{
    alone::in_own_process,
    fuzz::{TARGETS, Target, laws, run},
};
use ruserf::base::Rng;

use super::ALLOCATOR;

#[test]
fn laws_hold_for_the_corpus_and_its_mutations() {
    in_own_process(module_path!(), "laws_hold_for_the_corpus_and_its_mutations", every_target);
}

/// One after the other, as the allocator is shared by all threads.
fn every_target() {
    laws::set_meter(laws::Meter {
        allocated: || ALLOCATOR.allocated(),
        set_limit: |bytes| {
            let _ = ALLOCATOR.set_limit(bytes);
        },
    });
    let number = |name, default| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let rounds = number("FUZZ_ROUNDS", 40) * 1000;
    let mut rng = Rng::from_u64(number("FUZZ_SEED", 20_261_126));
    for target in &TARGETS {
        let (seeds, start) = (corpus(target.name), Instant::now());
        assert!(seeds.len() >= 10, "{}: no corpus", target.name);
        seeds.iter().for_each(|seed| check(target, seed));
        for _ in 0..rounds / target_weight(target) {
            let mut input = seeds[rng.below(seeds.len())].clone();
            let other = &seeds[rng.below(seeds.len())];
            mutate(&mut rng, &mut input, other);
            check(target, &input);
        }
        eprintln!("{}: {} seeds, {:.1?}", target.name, seeds.len(), start.elapsed());
    }
}

/// A whole engine takes longer than a decoder, a stream is read in many pieces, and a capture three
/// times, each with tables of its own.
fn target_weight(target: &Target) -> u64 {
    match target.name {
        "capture" => 20,
        "engine" | "expression" => 5,
        "stream" | "packet" => 3,
        _ => 1,
    }
}

/// On failure the input is what to add to the corpus.
fn check(target: &Target, input: &[u8]) {
    if let Some(last) = std::env::var_os("FUZZ_LAST") {
        fs::write(last, input).expect("the file can be written");
    }
    let result = std::panic::catch_unwind(|| run(target, input));
    assert!(result.is_ok(), "{}: {}", target.name, hex::encode(input));
}

fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    // Markers and lengths that matter more often than chance has it.
    const ODD: [u8; 16] = [
        0x00, 0x7f, 0x80, 0x8f, 0x90, 0xa0, 0xc0, 0xc1, 0xc6, 0xcf, 0xd3, 0xdb, 0xdd, 0xdf, 0xf4,
        0xff,
    ];
    for _ in 0..=rng.below(4) {
        let at = rng.below(input.len().max(1)).min(input.len());
        match rng.below(6) {
            0 => input.truncate(at),
            1 => input.insert(at, ODD[rng.below(ODD.len())]),
            2 if at < input.len() => input[at] = ODD[rng.below(ODD.len())],
            3 if at < input.len() => input[at] ^= 1 << rng.below(8),
            4 if at < input.len() => {
                input.remove(at);
            }
            _ => {
                let from = rng.below(other.len().max(1)).min(other.len());
                let to = from + rng.below(other.len() - from + 1);
                input.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/corpus").join(target);
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}
