//! The log to the local syslog. Go: go-syslog's `Write`, `agent/syslog.go`.

use std::{
    io::Write,
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
};

use super::log::Level;

/// Where syslogd listens, as Go looks for it.
const SOCKETS: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
const FACILITIES: [&str; 20] = [
    "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON", "AUTHPRIV",
    "FTP", "LOCAL0", "LOCAL1", "LOCAL2", "LOCAL3", "LOCAL4", "LOCAL5", "LOCAL6", "LOCAL7",
];

/// A connection to syslogd. Nothing waits for it: what it cannot take at once is lost.
pub(super) struct Syslog {
    facility: u8,
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
    pub(super) fn open(facility: &str) -> Result<Self, String> {
        Self::open_at(facility, &SOCKETS.map(Path::new))
    }

    fn open_at(facility: &str, sockets: &[&Path]) -> Result<Self, String> {
        let upper = facility.to_uppercase();
        let index = FACILITIES.iter().position(|known| *known == upper);
        let index = index.ok_or_else(|| format!("invalid syslog facility: {facility}"))?;
        // FTP is 11; the local ones begin at 16.
        let facility = if index >= 12 { index + 4 } else { index } as u8;
        let datagram = sockets.iter().find_map(|path| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.connect(path).ok()?;
            socket.set_nonblocking(true).ok()?;
            Some(Socket::Datagram(socket))
        });
        let stream = || {
            sockets.iter().find_map(|path| {
                let stream = UnixStream::connect(path).ok()?;
                stream.set_nonblocking(true).ok()?;
                Some(Socket::Stream(stream))
            })
        };
        let socket = datagram.or_else(stream).ok_or("Unix syslog delivery error")?;
        Ok(Self { facility, socket })
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
        let _ = match &mut self.socket {
            Socket::Datagram(socket) => socket.send(line.as_bytes()).map(drop),
            Socket::Stream(stream) => stream.write(line.as_bytes()).map(drop),
        };
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
}
