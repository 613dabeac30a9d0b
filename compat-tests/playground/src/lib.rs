//! The simulator in a browser: a cluster of production engines in virtual time, driven and drawn by
//! docs/playground/playground.js.
//!
//! The browser calls the functions below and reads two arrays from the module's memory: a byte for
//! each node, and four bytes for each packet sent since the last step.

mod stage;

use std::cell::RefCell;

pub use stage::{Packet, Sort, Stage};

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Calls the cluster; the zero of the type before one was started.
fn with<R: Default>(call: impl FnOnce(&mut Stage) -> R) -> R {
    STAGE.with_borrow_mut(|stage| stage.as_mut().map(call).unwrap_or_default())
}

// `unsafe` in these attributes says that a name is exported as it is: the browser calls it.

/// Starts a cluster that is already formed.
#[unsafe(no_mangle)]
pub extern "C" fn start(nodes: u32, seed: u32) {
    STAGE.set(Some(Stage::new(nodes, seed.into())));
}

/// Lets virtual time pass, and gives the number of packets sent meanwhile.
#[unsafe(no_mangle)]
pub extern "C" fn advance(micros: u32) -> usize {
    with(|stage| stage.advance(micros))
}

/// Virtual time in seconds.
#[unsafe(no_mangle)]
pub extern "C" fn now() -> f64 {
    with(|stage| stage.now())
}

/// Address of a byte for each node: [`Stage::nodes`].
#[unsafe(no_mangle)]
pub extern "C" fn nodes() -> *const u8 {
    STAGE.with_borrow_mut(|stage| stage.as_mut().map_or(std::ptr::null(), |of| of.nodes().as_ptr()))
}

/// Address of the packets of the last step: from, to (16 bits each, little endian), sort.
#[unsafe(no_mangle)]
pub extern "C" fn packets() -> *const u8 {
    STAGE.with_borrow(|stage| stage.as_ref().map_or(std::ptr::null(), |of| of.packets().as_ptr()))
}

/// Share of datagrams that are lost.
#[unsafe(no_mangle)]
pub extern "C" fn set_loss(share: f64) {
    with(|stage| stage.set_loss(share));
}

/// Cuts this share of the nodes off from the others; 0 heals.
#[unsafe(no_mangle)]
pub extern "C" fn set_cut(share: f64) {
    with(|stage| stage.set_cut(share));
}

/// A node begins to spread news.
#[unsafe(no_mangle)]
pub extern "C" fn tell(node: u32) {
    with(|stage| stage.tell(node));
}

/// A node's machine stops, or starts again.
#[unsafe(no_mangle)]
pub extern "C" fn toggle(node: u32) {
    with(|stage| stage.toggle(node));
}

/// Nodes that know the latest news.
#[unsafe(no_mangle)]
pub extern "C" fn knowing() -> u32 {
    with(|stage| stage.knowing())
}

/// Seconds since the latest news; negative: there are none.
#[unsafe(no_mangle)]
pub extern "C" fn since_news() -> f64 {
    with(|stage| stage.since_news())
}

/// Share of nodes that know news of this age by the logistic model of a network without loss.
#[unsafe(no_mangle)]
pub extern "C" fn theory(seconds: f64) -> f64 {
    with(|stage| stage.theory(seconds))
}

/// Failures of nodes that run, as seen by any node, so far.
#[unsafe(no_mangle)]
pub extern "C" fn false_failures() -> u32 {
    with(|stage| stage.false_failures())
}
