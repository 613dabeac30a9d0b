//! The log to the local syslog. Go: go-syslog's `Write`, `agent/syslog.go`.

use std::{
    io::{self, Write},
    os::unix::net::{UnixDatagram, UnixStream},
    path::{Path, PathBuf},
};

use super::Level;

/// Where syslogd listens, as Go looks for it.
const SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const FACILITIES: [&str; 20] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV",
    "FTP", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
];

/// A connection to syslogd. Nothing waits for it: what it cannot take at once is lost.
pub(in crate::agent) struct Syslog {
    facility: u8,
    paths: Vec<PathBuf>,
    socket: Socket,
}

enum Socket {
    Datagram(UnixDatagram),
    Stream(UnixStream),
}

impl Syslog {
    /// Connects.
    ///
    /// # Errors
    /// Go's texts: no such facility, or nobody listens.
    pub(in crate::agent) fn open(facility: &str) -> Result<Self, String> {
        Self::open_at(facility, &SOCKETS.map(Path::new))
    }

    fn open_at(facility: &str, sockets: &[&Path]) -> Result<Self, String> {
        let upper = facility.to_uppercase();
        let index = FACILITIES.iter().position(|known| *known == upper);
        let index = index.ok_or_else(|| format!("invalid syslog facility: {facility}"))?;
        // FTP is 11; the local ones begin at 16.
        let facility = if index >= 12 { index + 4 } else { index } as u8;
        let paths: Vec<PathBuf> = sockets.iter().map(|path| path.to_path_buf()).collect();
        let socket = Socket::connect(&paths).ok_or("Unix syslog delivery error")?;
        Ok(Self { facility, paths, socket })
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
        let priority = self.facility * 8 + severity;
        let time = jiff::Zoned::now().strftime("%b %e %H:%M:%S");
        let line = format!("<{priority}>{time} serf[{}]: {text}\n", std::process::id());
        // A full queue loses the line; a syslogd that was started again has a new socket.
        if self.socket.send(line.as_bytes()).is_err_and(|e| e.kind() != io::ErrorKind::WouldBlock)
            && let Some(socket) = Socket::connect(&self.paths)
        {
            self.socket = socket;
            let _ = self.socket.send(line.as_bytes());
        }
    }
}

impl Socket {
    /// The first that takes datagrams, or else streams; never waits to send.
    fn connect(paths: &[PathBuf]) -> Option<Self> {
        let datagram = |path| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.connect(path).ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(Self::Datagram(socket))
        };
        let stream = |path| {
            let stream = UnixStream::connect(path).ok()?;
            stream.set_nonblocking(true).ok()?;
            Some(Self::Stream(stream))
        };
        paths.iter().find_map(datagram).or_else(|| paths.iter().find_map(stream))
    }

    fn send(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Datagram(socket) => socket.send(line).map(drop),
            Self::Stream(stream) => match stream.write(line)? {
                all if all == line.len() => Ok(()),
                // Half a line would spoil the next.
                _ => Err(io::ErrorKind::WriteZero.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_is_wrong_is_told_as_by_go() {
        let error = |facility| Syslog::open_at(facility, &[]).err().unwrap();
        assert_eq!(error("NOPE"), "invalid syslog facility: NOPE");
        assert_eq!(error("LOCAL0"), "Unix syslog delivery error");
    }

    #[test]
    fn a_syslogd_that_does_not_read_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let _server = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::open_at("LOCAL0", &[&path]).unwrap();
        for _ in 0..10_000 {
            syslog.send(Level::Info, "serf: more and more");
        }
    }

    #[test]
    fn a_syslogd_that_was_started_again_gets_the_next_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut syslog = Syslog::open_at("LOCAL0", &[&path]).unwrap();
        drop(server);
        std::fs::remove_file(&path).unwrap();
        syslog.send(Level::Info, "serf: lost");
        let server = UnixDatagram::bind(&path).unwrap();
        server.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        syslog.send(Level::Info, "serf: told");
        let mut buf = [0; 256];
        let n = server.recv(&mut buf).unwrap();
        assert!(std::str::from_utf8(&buf[..n]).unwrap().ends_with("serf: told\n"));
    }
}
