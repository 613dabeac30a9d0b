//! Sends the log to the local syslogd. Go: go-syslog's `Write`, `agent/syslog.go`.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use socket2::{Domain, SockAddr, Socket, Type};

use super::Level;

/// A connection to syslogd. It never blocks: lines that syslogd does not accept at once are lost.
pub(in crate::agent) struct Syslog {
    facility: Facility,
    paths: Vec<PathBuf>,
    socket: Option<Socket>,
    /// Set after a partial write: the time of the next attempt to connect.
    pause_until: Option<Instant>,
}

/// A syslog facility.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u8);

impl Facility {
    /// The facility with this name, in any case.
    ///
    /// # Errors
    /// The facility does not exist; Go's text.
    pub(in crate::agent) fn from_name(name: &str) -> Result<Self, String> {
        let upper = name.to_uppercase();
        let index = FACILITIES.iter().position(|known| *known == upper);
        let index = index.ok_or_else(|| format!("invalid syslog facility: {name}"))?;
        // FTP is 11; the local ones begin at 16.
        Ok(Self(if index >= 12 { index + 4 } else { index } as u8))
    }
}

impl Syslog {
    /// Connects to syslogd.
    ///
    /// # Errors
    /// No syslogd listens; Go's text.
    pub(in crate::agent) fn open(facility: Facility) -> Result<Self, String> {
        Self::open_at(facility, &SOCKETS.map(Path::new))
    }

    fn open_at(facility: Facility, sockets: &[&Path]) -> Result<Self, String> {
        let paths: Vec<PathBuf> = sockets.iter().map(|path| path.to_path_buf()).collect();
        let socket = Some(connect(&paths).ok_or("Unix syslog delivery error")?);
        Ok(Self { facility, paths, socket, pause_until: None })
    }

    /// Sends `component: text`.
    pub(super) fn send(&mut self, level: Level, text: &str) {
        let severity = match level {
            Level::Trace => 7,
            Level::Debug => 6,
            Level::Info => 5,
            Level::Warn => 4,
            Level::Err => 3,
        };
        let priority = self.facility.0 * 8 + severity;
        let time = jiff::Zoned::now().strftime("%b %e %H:%M:%S");
        let line = format!("<{priority}>{time} serf[{}]: {text}\n", std::process::id());
        // One record is one line, even for a syslogd that reads a stream.
        let line = line.trim_end().replace('\n', "\\n") + "\n";
        if self.deliver(line.as_bytes()) == Delivery::Broken {
            // A restarted syslogd has a new socket.
            self.socket = connect(&self.paths);
            self.deliver(line.as_bytes());
        }
    }

    fn deliver(&mut self, line: &[u8]) -> Delivery {
        if let Some(until) = self.pause_until {
            if Instant::now() < until {
                return Delivery::Lost;
            }
            self.pause_until = None;
        }
        let Some(socket) = &self.socket else { return Delivery::Broken };
        match socket.send(line) {
            Ok(sent) if sent == line.len() => Delivery::Done,
            Ok(_) => {
                // An incomplete line would corrupt the next one. Nor does reconnecting at once help
                // if syslogd does not read.
                self.socket = None;
                self.pause_until = Some(Instant::now() + RECONNECT_PAUSE);
                Delivery::Lost
            }
            // If the queue is full, the line is lost.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Delivery::Lost,
            Err(_) => Delivery::Broken,
        }
    }
}

/// The result of sending a line.
#[derive(PartialEq)]
enum Delivery {
    Done,
    Lost,
    Broken,
}

/// Connects to the first socket that accepts datagrams, or else streams. Never blocks.
fn connect(paths: &[PathBuf]) -> Option<Socket> {
    let open = |kind, path: &PathBuf| {
        let socket = Socket::new(Domain::UNIX, kind, None).ok()?;
        socket.set_nonblocking(true).ok()?;
        socket.connect(&SockAddr::unix(path).ok()?).ok()?;
        Some(socket)
    };
    let datagrams = paths.iter().find_map(|path| open(Type::DGRAM, path));
    datagrams.or_else(|| paths.iter().find_map(|path| open(Type::STREAM, path)))
}

/// Sockets of syslogd, in Go's order.
const SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const FACILITIES: [&str; 20] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV",
    "FTP", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
];
/// How long to wait before reconnecting after a partial write.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, Read as _},
        os::unix::net::{UnixDatagram, UnixListener},
    };

    use super::*;

    const LOCAL0: Facility = Facility(16);

    // parity: agent-obs: syslog and facility
    #[test]
    fn lines_carry_facility_severity_and_process() {
        let dir = tempfile::tempdir().unwrap();
        let (absent, path) = (dir.path().join("absent"), dir.path().join("log"));
        let server = UnixDatagram::bind(&path).unwrap();
        let sockets = [absent.as_path(), path.as_path()];
        let mut buf = [0; 1024];
        for (facility, level, priority) in [
            ("LOCAL0", Level::Info, 16 * 8 + 5),
            ("daemon", Level::Warn, 3 * 8 + 4),
            ("Local7", Level::Err, 23 * 8 + 3),
            ("FTP", Level::Debug, 11 * 8 + 6),
            ("KERN", Level::Trace, 7),
        ] {
            let facility = Facility::from_name(facility).unwrap();
            Syslog::open_at(facility, &sockets).unwrap().send(level, "serf: hello");
            let n = server.recv(&mut buf).unwrap();
            let line = std::str::from_utf8(&buf[..n]).unwrap();
            assert!(line.starts_with(&format!("<{priority}>")), "{line}");
            let end = format!(" serf[{}]: serf: hello\n", std::process::id());
            assert!(line.ends_with(&end), "{line}");
            // `<133>Nov  3 15:04:05`, the day padded with a blank.
            let time = &line[line.find('>').unwrap() + 1..line.len() - end.len()];
            assert_eq!(time.len(), 15, "{line}");
        }
    }

    #[test]
    fn errors_have_the_texts_of_go() {
        let error = Facility::from_name("NOPE").unwrap_err();
        assert_eq!(error, "invalid syslog facility: NOPE");
        let error = Syslog::open_at(LOCAL0, &[]).err().unwrap();
        assert_eq!(error, "Unix syslog delivery error");
    }

    /// For both kinds of socket, and for a stream socket whose connections are not even accepted.
    #[test]
    fn a_syslogd_that_does_not_read_delays_no_one() {
        let dir = tempfile::tempdir().unwrap();
        let (datagrams, streams) = (dir.path().join("datagrams"), dir.path().join("streams"));
        let _server = UnixDatagram::bind(&datagrams).unwrap();
        let _listener = UnixListener::bind(&streams).unwrap();
        let started = Instant::now();
        let line = format!("serf: {}", "more".repeat(20_000));
        for path in [&datagrams, &streams] {
            let mut syslog = Syslog::open_at(LOCAL0, &[path]).unwrap();
            for _ in 0..1_000 {
                syslog.send(Level::Info, &line);
            }
        }
        let mut queue = Vec::new();
        while let Some(socket) = connect(std::slice::from_ref(&streams)) {
            queue.push(socket);
            assert!(queue.len() < 10_000, "the backlog has no end");
        }
        // A blocking socket would hang here.
        assert!(Syslog::open_at(LOCAL0, &[&streams]).is_err());
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    }

    #[test]
    fn half_a_line_is_never_followed_by_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let listener = UnixListener::bind(&path).unwrap();
        let mut syslog = Syslog::open_at(LOCAL0, &[&path]).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        while syslog.pause_until.is_none() {
            syslog.send(Level::Info, &format!("serf: {}", "y".repeat(100_001)));
        }
        syslog.send(Level::Info, "serf: next");
        let mut text = String::new();
        // The stream ends, since the connection was closed.
        server.read_to_string(&mut text).unwrap();
        assert!(text.len() > 100_000 && !text.contains("next"), "{}", text.len());
        syslog.pause_until = Some(Instant::now());
        syslog.send(Level::Info, "serf: later");
        let (server, _) = listener.accept().unwrap();
        let mut line = String::new();
        io::BufReader::new(server).read_line(&mut line).unwrap();
        assert!(line.ends_with("serf: later\n"), "{line}");
    }

    #[test]
    fn a_syslogd_that_was_started_again_gets_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::open_at(LOCAL0, &[&path]).unwrap();
        drop(server);
        std::fs::remove_file(&path).unwrap();
        syslog.send(Level::Info, "serf: lost");
        let server = UnixDatagram::bind(&path).unwrap();
        server.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        syslog.send(Level::Info, "serf: again");
        let mut buf = [0; 256];
        let n = server.recv(&mut buf).unwrap();
        assert!(std::str::from_utf8(&buf[..n]).unwrap().ends_with("serf: again\n"));
    }
}
