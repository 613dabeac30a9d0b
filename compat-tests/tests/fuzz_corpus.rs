//! Replays the fuzz corpus, and mutations of it, without a fuzzer.

use std::{fs, path::Path};

use compat_tests::fuzz::TARGETS;
use ruserf::base::Rng;

#[test]
fn corpus_holds_for_every_target() {
    for (name, check) in TARGETS {
        let seeds = corpus(name);
        assert!(seeds.len() > 10, "{name}: no corpus");
        seeds.iter().for_each(|seed| check(seed));
    }
}

#[test]
fn mutations_of_the_corpus_hold_for_every_target() {
    let mut rng = Rng::from_u64(20_260_724);
    for (name, check) in TARGETS {
        let seeds = corpus(name);
        for _ in 0..10_000 {
            let mut input = seeds[rng.below(seeds.len())].clone();
            let other = &seeds[rng.below(seeds.len())];
            mutate(&mut rng, &mut input, other);
            // On failure the input is what to add to the corpus.
            let hex = hex::encode(&input);
            let result = std::panic::catch_unwind(|| check(&input));
            assert!(result.is_ok(), "{name}: {hex}");
        }
    }
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
