//! Creates the state from a configuration. Go: `serf/serf.go:Create`.

use std::sync::Arc;

use tracing::debug;

use super::{
    Config, Error, LamportTime, Member, MemberStatus, SerfState, Stats, Tags,
    admission::USER_EVENT_BYTES_MAX,
    ahead::Ahead,
    broadcasts::Broadcasts,
    chunk::Chunk,
    coalesce::{MemberCoalescer, UserCoalescer},
    conflict::Conflict,
    context::{Clocks, Context, Names, encode_tags},
    coordinates::Coordinates,
    delivery::Delivery,
    effects::{Effects, Timer},
    event_ring::EventRing,
    keys::KeyOps,
    lamport::LamportClock,
    logs::Logs,
    membership::Membership,
    query::Queries,
    received::QueryRing,
    replay::Replay,
    snapshot::Snapshot,
    state::State,
    user_event::UserEvents,
};
use crate::{
    base::{Instant, Rng, mutated},
    swim::ConfigError,
    wire::Vsn,
};

/// Validates the configuration, in Go's order, and creates the state. Go: `serf/serf.go:Create`.
pub(crate) fn build_state(
    mut config: Config,
    now: Instant,
    snapshot: Option<&[u8]>,
) -> Result<State, Error> {
    let tags = Tags::from(config.tags.clone());
    let meta = check(&config, &tags)?;
    let (name, version) = (config.swim.name.clone(), config.protocol_version);
    config.swim.delegate_protocol = [PROTOCOL_MIN, PROTOCOL_MAX, version];
    config.swim.protocol_version = SWIM_PROTOCOL;
    config.swim.filter_alive |=
        config.delegates.merge.is_some() || config.delegates.alive.is_some();
    config.swim.filter_merge |= config.delegates.merge.is_some();
    let names_seed = Rng::from_seed(config.swim.seed).u64();
    let read = |file| Replay::read(file, config.rejoin_after_leave, names_seed);
    let replay = snapshot.map(read).unwrap_or_default();
    // This node never raises an incarnation above half of the range: a higher one was caused by
    // peers.
    let previous = Some(replay.incarnation).filter(|last| *last < u32::MAX / 2).unwrap_or(0);
    config.swim.incarnation_min.0 = config.swim.incarnation_min.0.max(previous);
    let kept = u64::from(snapshot.is_some());
    let after = |time: LamportTime| LamportTime(kept * time.0.saturating_add(1));
    let mut seed = config.swim.seed;
    // A different random stream from the layer below's.
    seed.iter_mut().for_each(|byte| *byte ^= 0x5f);
    let hash_seed = Rng::from_seed(seed.map(|byte| !byte)).u64();
    let coordinates = Coordinates::new(&name, !config.disable_coordinates);
    let own = own_member(&config, tags.clone());
    let clocks = restored_clocks(mutated!(config.swim, ClockLost), &replay);
    let (event_clock, query_clock) = (after(replay.event_clock), after(replay.query_clock));
    let snapshot =
        snapshot.map(|file| Snapshot::new(replay, file.len(), config.rejoin_after_leave, now));
    let delivery = Delivery {
        snapshot,
        member_coalescer: MemberCoalescer::new(config.coalesce_period, config.quiescent_period),
        user_coalescer: UserCoalescer::new(
            config.user_coalesce_period,
            config.user_quiescent_period,
        ),
    };
    let ring = EventRing::new(config.event_buffer, hash_seed);
    let mut state = State {
        members: Membership::new(own, coordinates, hash_seed),
        events: UserEvents::new(event_clock, ring),
        queries: Queries::new(query_clock, QueryRing::new(config.query_buffer), now),
        // Updated as soon as the layer below is built and its size is known.
        broadcasts: Broadcasts::new(config.swim.udp_buffer_size),
        ahead: Ahead::default(),
        keys: KeyOps::default(),
        conflict: Conflict::default(),
        cx: Context {
            name,
            tags,
            meta,
            life: SerfState::Alive,
            now,
            rng: Rng::from_seed(seed),
            clocks,
            delivery,
            effects: Effects::default(),
            stats: Stats::default(),
            logs: Logs::default(),
            names: Names::default(),
            payloads: Chunk::default(),
            config,
        },
    };
    start_timers(&mut state.cx);
    Ok(state)
}

/// Our own record as announced.
fn own_member(config: &Config, tags: Tags) -> Member {
    let version = config.protocol_version;
    Member {
        name: config.swim.name.clone(),
        addr: config.swim.advertise_addr.clone().into(),
        port: config.swim.advertise_port,
        tags,
        status: MemberStatus::Alive,
        vsn: Vsn([1, 5, SWIM_PROTOCOL, PROTOCOL_MIN, PROTOCOL_MAX, version]),
    }
}

/// The clocks of an earlier run.
fn restored_clocks(clock_lost: bool, replay: &Replay) -> Clocks {
    let restore = |time: LamportTime| {
        LamportClock::restore(match clock_lost {
            false => time,
            true => LamportTime(0),
        })
    };
    Clocks {
        member: restore(replay.clock),
        event: restore(replay.event_clock),
        query: restore(replay.query_clock),
    }
}

/// The checks that Go makes before it opens the snapshot and the sockets.
///
/// # Errors
/// The configuration is invalid.
#[cfg(all(feature = "driver", not(target_family = "wasm")))]
pub(crate) fn check_config(config: &Config) -> Result<(), Error> {
    check(config, &Tags::from(config.tags.clone())).map(drop)
}

/// Validates the configuration; returns the encoded tags.
fn check(config: &Config, tags: &Tags) -> Result<Arc<[u8]>, Error> {
    let version = config.protocol_version;
    if !(PROTOCOL_MIN..=PROTOCOL_MAX).contains(&version) {
        let (min, max) = (PROTOCOL_MIN, PROTOCOL_MAX);
        return Err(Error::Config(ConfigError::Protocol { version, min, max }));
    }
    if config.user_event_size_limit > USER_EVENT_BYTES_MAX {
        return Err(Error::Config(ConfigError::UserEventLimit { max: USER_EVENT_BYTES_MAX }));
    }
    let name = &config.swim.name;
    let invalid_name =
        |reason| Error::Config(ConfigError::InvalidName { name: name.to_string(), reason });
    let meta = encode_tags(config, tags)?;
    if config.validate_node_names {
        validate_name(name).map_err(invalid_name)?;
    }
    if name.chars().any(char::is_control) {
        return Err(invalid_name("node name contains control characters".to_owned()));
    }
    Ok(meta)
}

fn start_timers(cx: &mut Context) {
    for (interval, timer) in [
        (cx.config.reap_interval, Timer::Reap),
        (cx.config.reconnect_interval, Timer::Reconnect),
        (cx.config.queue_check_interval, Timer::QueueCheck),
    ] {
        // Go spins on a zero interval.
        if !interval.is_zero() {
            cx.start_timer(interval, timer);
        }
    }
    if let Some(snapshot) = &cx.delivery.snapshot {
        cx.effects.timers.set(snapshot.next(), Timer::Snapshot);
        debug!(target: "serf", clock = cx.clocks.member.time().0, "snapshot replayed");
    }
}

/// Go: `serf/serf.go:ValidateNodeName`.
pub(crate) fn validate_name(name: &str) -> Result<(), String> {
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.')) {
        return Err(format!(
            "Node name contains invalid characters {name} , Valid characters include \
             all alpha-numerics and dashes and '.' "
        ));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "Node name is {} characters. Valid length is between 1 and 128 characters",
            name.len()
        ));
    }
    Ok(())
}

/// Go: `ProtocolVersionMin`.
const PROTOCOL_MIN: u8 = 2;
/// Go: `ProtocolVersionMax`.
const PROTOCOL_MAX: u8 = 5;
/// Memberlist protocol used by every Serf protocol. Go: `ProtocolVersionMap`.
const SWIM_PROTOCOL: u8 = 2;
const NAME_BYTES_MAX: usize = 128;
