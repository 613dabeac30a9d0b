//! The sinks statsd (UDP) and statsite (TCP). Go: go-metrics, `StatsdSink` and `StatsiteSink`.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::warn;

use crate::{
    driver::metric_table::Kind,
    transport::{self, Network},
};

/// A queue to the sending task.
pub(super) struct Push(mpsc::Sender<String>);

impl Push {
    pub(super) fn statsd(addr: &str) -> Self {
        let (send, lines) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run_statsd(addr.to_owned(), lines));
        Self(send)
    }

    pub(super) fn statsite(addr: &str) -> Self {
        let (send, lines) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run_statsite(addr.to_owned(), lines));
        Self(send)
    }

    /// Queues a value without waiting; if the queue is full, it is lost.
    pub(super) fn send(&self, kind: Kind, name: &str, value: f64) {
        let _ = self.0.try_send(line(kind, name, value));
    }
}

fn line(kind: Kind, name: &str, value: f64) -> String {
    let name: String =
        name.chars().map(|c| if c == ':' || c.is_whitespace() { '_' } else { c }).collect();
    let kind = match kind {
        Kind::Gauge => "g",
        Kind::Counter => "c",
        Kind::Sample => "ms",
    };
    format!("{name}:{value:.6}|{kind}\n")
}

async fn run_statsd(addr: String, mut lines: mpsc::Receiver<String>) {
    let mut ticks = interval(FLUSH_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        match connect_udp(&addr).await {
            Ok(socket) => {
                let error = loop {
                    let mut packet = String::new();
                    // Fills a packet until it is full or the next tick.
                    let ended = fill_packets(&mut lines, &mut packet, &mut ticks, &socket).await;
                    match ended {
                        Ok(true) => {}
                        Ok(false) => return,
                        Err(error) => break error,
                    }
                };
                warn!(target: "agent", "Error writing to statsd! Err: {error}");
            }
            Err(error) => warn!(target: "agent", "Error connecting to statsd! Err: {error}"),
        }
        drain(&mut lines);
        sleep(RECONNECT_PAUSE).await;
    }
}

/// Sends full packets until a tick; returns false when all senders are dropped.
async fn fill_packets(
    lines: &mut mpsc::Receiver<String>,
    packet: &mut String,
    ticks: &mut tokio::time::Interval,
    socket: &UdpSocket,
) -> io::Result<bool> {
    loop {
        tokio::select! {
            line = lines.recv() => {
                let Some(line) = line else {
                    socket.send(packet.as_bytes()).await?;
                    return Ok(false);
                };
                if packet.len() + line.len() > PACKET_BYTES_MAX && !packet.is_empty() {
                    socket.send(packet.as_bytes()).await?;
                    packet.clear();
                }
                packet.push_str(&line);
            }
            _ = ticks.tick() => {
                if !packet.is_empty() {
                    socket.send(packet.as_bytes()).await?;
                }
                return Ok(true);
            }
        }
    }
}

async fn connect_udp(addr: &str) -> io::Result<UdpSocket> {
    let found = transport::resolve_async(Network::Udp, addr).await.map_err(io::Error::other)?;
    let mut failed = None;
    for to in found.to_dial() {
        match connect_udp_to(to).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::other("no address")))
}

async fn connect_udp_to(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: &str = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(to).await?;
    Ok(socket)
}

async fn connect_tcp(addr: &str) -> io::Result<TcpStream> {
    let found = transport::resolve_async(Network::Tcp, addr).await.map_err(io::Error::other)?;
    TcpStream::connect(found.to_dial().as_slice()).await
}

async fn run_statsite(addr: String, mut lines: mpsc::Receiver<String>) {
    loop {
        match timeout(WRITE_MAX, connect_tcp(&addr)).await {
            Ok(Ok(mut stream)) => {
                let _ = stream.set_nodelay(true);
                loop {
                    let Some(mut batch) = lines.recv().await else { return };
                    while let Ok(line) = lines.try_recv() {
                        batch.push_str(&line);
                    }
                    if let Ok(Ok(())) = timeout(WRITE_MAX, stream.write_all(batch.as_bytes())).await
                    {
                        continue;
                    }
                    warn!(target: "agent", "Error writing to statsite!");
                    break;
                }
            }
            Ok(Err(error)) => warn!(target: "agent", "Error connecting to statsite! Err: {error}"),
            Err(_) => warn!(target: "agent", "Error connecting to statsite! Err: timeout"),
        }
        drain(&mut lines);
        sleep(RECONNECT_PAUSE).await;
    }
}

/// Drops lines queued while the server was down, which are outdated.
fn drain(lines: &mut mpsc::Receiver<String>) {
    while lines.try_recv().is_ok() {}
}

/// Most queued lines; further ones are dropped. Go: the channel of either sink.
const QUEUE_MAX: usize = 4096;
/// Go: `statsdMaxLen`.
const PACKET_BYTES_MAX: usize = 1400;
/// Go: `flushInterval`.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);
/// As long as Go waits before reconnecting.
const RECONNECT_PAUSE: Duration = Duration::from_secs(5);
const WRITE_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn statsd_gets_lines_in_packets() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let push = Push::statsd(&server.local_addr().unwrap().to_string());
        push.send(Kind::Counter, "serf-agent.agent.ipc.command", 1.0);
        push.send(Kind::Gauge, "serf-agent.my host:1.g", 2.5);
        for n in 0..100 {
            push.send(Kind::Sample, "serf-agent.memberlist.gossip", f64::from(n) / 8.0);
        }
        let (mut text, mut buf) = (String::new(), [0; 2048]);
        while text.lines().count() < 102 {
            let n = timeout(Duration::from_secs(20), server.recv(&mut buf)).await.unwrap().unwrap();
            assert!(n <= PACKET_BYTES_MAX);
            text.push_str(std::str::from_utf8(&buf[..n]).unwrap());
        }
        assert!(text.starts_with("serf-agent.agent.ipc.command:1.000000|c\n"), "{text}");
        assert!(text.contains("serf-agent.my_host_1.g:2.500000|g\n"));
        assert!(text.ends_with("serf-agent.memberlist.gossip:12.375000|ms\n"));
    }

    #[tokio::test]
    async fn statsite_gets_the_same_lines_over_tcp() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let push = Push::statsite(&server.local_addr().unwrap().to_string());
        push.send(Kind::Counter, "serf-agent.serf.events", 1.0);
        push.send(Kind::Sample, "serf-agent.serf.msgs.sent", 27.0);
        let (mut stream, _) = server.accept().await.unwrap();
        let expected =
            "serf-agent.serf.events:1.000000|c\nserf-agent.serf.msgs.sent:27.000000|ms\n";
        let mut buf = vec![0; expected.len()];
        timeout(Duration::from_secs(20), stream.read_exact(&mut buf)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8(buf).unwrap(), expected);
    }

    #[tokio::test]
    async fn a_sink_that_does_not_listen_delays_no_one() {
        let push = Push::statsite("127.0.0.1:1");
        // The sending task has not run yet, so all but the first lines are lost.
        for n in 0..3 * QUEUE_MAX {
            push.send(Kind::Counter, "serf-agent.x", n as f64);
        }
        assert_eq!(push.0.capacity(), 0, "the queue is full, and nobody waited");
        // Nothing listens there: queued lines are dropped, which makes room.
        let room = async {
            while push.0.capacity() < QUEUE_MAX {
                tokio::task::yield_now().await;
            }
        };
        timeout(WRITE_MAX, room).await.expect("the queue is emptied");
    }
}
