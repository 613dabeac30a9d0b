//! Encodes beacons as user events.

use crate::driver::Event;

/// The contents of a beacon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beacon {
    /// Random number of this run of the sender's agent.
    pub(super) run: u64,
    /// Number of the beacon in its run, from 1.
    pub(super) number: u64,
    /// Time of sending: milliseconds since the run began, by the sender's clock.
    pub(super) sent_ms: u64,
    /// Name of the sender.
    pub(super) sender: String,
}

impl Beacon {
    /// The event's payload, as text, because other agents may print it.
    pub(super) fn encode(&self) -> String {
        let Self { run, number, sent_ms, sender } = self;
        format!("1 {run:016x} {number} {sent_ms} {sender}")
    }

    /// Decodes a payload; `None` if it is not a beacon, or one of a later version.
    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let text = str::from_utf8(payload).ok()?;
        let mut parts = text.splitn(5, ' ');
        let mut next = || parts.next();
        if next()? != "1" {
            return None;
        }
        let run = u64::from_str_radix(next()?, 16).ok()?;
        let (number, sent_ms) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let sender = next().filter(|name| !name.is_empty())?.to_owned();
        (sent_ms <= SENT_MS_MAX).then_some(Self { run, number, sent_ms, sender })
    }

    /// The beacon in an event, if it is one.
    pub(super) fn of(event: &Event) -> Option<Self> {
        match event {
            Event::User(event) if &*event.name == NAME => Self::decode(&event.payload),
            _ => None,
        }
    }
}

/// Whether an event is a beacon, by its name; its contents may be invalid.
pub(super) fn is_beacon(event: &Event) -> bool {
    matches!(event, Event::User(event) if &*event.name == NAME)
}

/// The event's name.
pub(super) const NAME: &str = "_ruserf_beacon";
/// A thousand years: differences of such times cannot overflow.
const SENT_MS_MAX: u64 = 1_000 * 366 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_understood_and_anything_else_is_none() {
        let beacon = Beacon { run: 7, number: 3, sent_ms: 12_345, sender: "a b".into() };
        assert_eq!(beacon.encode(), "1 0000000000000007 3 12345 a b");
        assert_eq!(Beacon::decode(beacon.encode().as_bytes()), Some(beacon));
        let late = format!("1 7 3 {} a", SENT_MS_MAX + 1);
        for wrong in [
            "",
            "1",
            "2 7 3 1 a",
            "1 7 3 1 ",
            "1 7 3 1",
            "1 x 3 1 a",
            "1 7 -3 1 a",
            &late,
            "1 7 3  a",
        ] {
            assert_eq!(Beacon::decode(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!(Beacon::decode(b"1 7 3 1 \xff"), None);
    }
}
