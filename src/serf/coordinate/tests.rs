use super::*;

fn bits(value: &serde_json::Value) -> f64 {
    f64::from_bits(u64::from_str_radix(value.as_str().unwrap(), 16).unwrap())
}

fn coordinate(value: &serde_json::Value) -> Coordinate {
    let vec = value["vec"].as_array().unwrap().iter().map(bits).collect();
    let part = |name: &str| bits(&value[name]);
    Coordinate { vec, error: part("error"), adjustment: part("adjustment"), height: part("height") }
}

/// Applies Go's updates and compares every bit. `key` is the field of the coordinate's bits.
fn replays(sequence: &serde_json::Value, steps: &serde_json::Value, key: Option<&str>) -> usize {
    let of = |value: &serde_json::Value| match key {
        Some(key) => coordinate(&value[key]),
        None => coordinate(value),
    };
    let mut vivaldi = Vivaldi::new();
    vivaldi.coordinate = of(&sequence["start"]);
    let mut rng = Rng::from_u64(1);
    let steps = steps.as_array().unwrap();
    for (at, step) in steps.iter().enumerate() {
        let other = of(&step["other"]);
        let node = step["node"].as_str().unwrap().into();
        let rtt = Duration::from_nanos(step["rtt_ns"].as_u64().unwrap());
        vivaldi.update(&mut rng, &node, &other, rtt).unwrap();
        let after = of(&step["after"]);
        assert_eq!(vivaldi.coordinate, after, "step {at}");
        let distance = step.get("distance_to_other_ns").or(step.get("distance_ns"));
        let nanos = distance.unwrap().as_u64().unwrap();
        let expected = Some(Duration::from_nanos(nanos));
        assert_eq!(after.distance_to(&other), expected, "distance after step {at}");
    }
    steps.len()
}

#[test]
fn updates_give_the_bits_of_go() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../testdata/serf.json")).unwrap();
    let found = vectors.as_array().unwrap().iter();
    let sequence =
        found.clone().find(|vector| vector["name"] == "coordinate_update_sequence").unwrap();
    let steps = sequence.get("steps").unwrap_or(&sequence["input"]["steps"]);
    assert_eq!(replays(&sequence["input"], steps, Some("bits")), 6);

    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../testdata/coordinates.json")).unwrap();
    assert_eq!(replays(&vectors, &vectors["steps"], None), 100);
}

#[test]
fn poison_is_refused() {
    let mut vivaldi = Vivaldi::new();
    let mut rng = Rng::from_u64(1);
    let node: Arc<str> = "n".into();
    let second = Duration::from_secs(1);
    let short = Coordinate { vec: vec![0.0; 7], ..Coordinate::origin() };
    assert_eq!(vivaldi.update(&mut rng, &node, &short, second), Err(UpdateError::Dimensions));
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut other = Coordinate::origin();
        other.vec[3] = bad;
        assert_eq!(vivaldi.update(&mut rng, &node, &other, second), Err(UpdateError::Invalid));
        let other = Coordinate { height: bad, ..Coordinate::origin() };
        assert_eq!(vivaldi.update(&mut rng, &node, &other, second), Err(UpdateError::Invalid));
    }
    let origin = Coordinate::origin();
    let long = Duration::from_nanos(10_000_000_001);
    let error = vivaldi.update(&mut rng, &node, &origin, long);
    assert_eq!(error, Err(UpdateError::Rtt(long)));
    assert!(vivaldi.update(&mut rng, &node, &origin, Duration::from_secs(10)).is_ok());
}

#[test]
fn overflow_resets_the_coordinate() {
    let mut vivaldi = Vivaldi::new();
    vivaldi.coordinate.height = f64::MAX;
    let other = Coordinate { height: f64::MAX, ..Coordinate::origin() };
    let rtt = Duration::from_millis(1);
    vivaldi.update(&mut Rng::from_u64(1), &"n".into(), &other, rtt).unwrap();
    assert_eq!(vivaldi.resets, 1);
    assert_eq!(vivaldi.coordinate, Coordinate::origin());
}

#[test]
fn nodes_at_one_place_are_pushed_apart() {
    let mut vivaldi = Vivaldi::new();
    let origin = Coordinate::origin();
    let rtt = Duration::from_millis(10);
    vivaldi.update(&mut Rng::from_u64(1), &"n".into(), &origin, rtt).unwrap();
    assert_ne!(vivaldi.coordinate.vec, origin.vec);
    assert_eq!(origin.distance_to(&Coordinate::default()), None);
}
