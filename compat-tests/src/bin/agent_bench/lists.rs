//! Lists of all members over RPC, from several agents in turn: `PROGRAM,PROGRAM`. What else the
//! machine does then slows all of them down alike.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use ruserf::rpc::protocol;

use super::{Agent, Crowd, members_answer_bytes, report};

/// An agent that knows all members of a crowd.
struct Asked {
    crowd: Crowd,
    _agent: Agent,
    stream: TcpStream,
    /// Size of its response.
    bytes: usize,
    times: Vec<f64>,
}

impl Asked {
    fn start(program: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let crowd = Crowd::open();
        crowd.serve();
        let agent = Agent::start(program, &[]);
        runtime.block_on(agent.join(crowd.addr().to_string()));
        let mut stream = agent.connect();
        let bytes = members_answer_bytes(&mut stream);
        Self { crowd, _agent: agent, stream, bytes, times: Vec::new() }
    }

    fn list(&mut self, buf: &mut [u8]) {
        let mut header = Vec::new();
        // The sequence number takes one byte, as in `members_answer_bytes`.
        ruserf::rpc::encode(&protocol::RequestHeader::new("members", 99), &mut header);
        let began = Instant::now();
        self.stream.write_all(&header).unwrap();
        let mut left = self.bytes;
        while left > 0 {
            left = left.saturating_sub(self.stream.read(buf).expect("members"));
        }
        self.times.push(began.elapsed().as_secs_f64() * 1e3);
    }
}

/// Prints the 10th, 25th and 50th percentile of each program's times.
pub(super) fn measure(programs: &str) {
    let mut agents: Vec<_> = programs.split(',').map(Asked::start).collect();
    thread::sleep(Duration::from_secs(5));
    let mut buf = vec![0; 1 << 20];
    for _ in 0..LISTS {
        for agent in &mut agents {
            agent.list(&mut buf);
            thread::sleep(Duration::from_millis(4));
        }
    }
    for (index, agent) in agents.iter_mut().enumerate() {
        agent.times.sort_by(f64::total_cmp);
        for percent in [10, 25, 50] {
            let name = format!("members_rpc_{index}_p{percent}_ms");
            report(&name, agent.times[LISTS * percent / 100]);
        }
        agent.crowd.stop.store(true, Ordering::Relaxed);
    }
}

const LISTS: usize = 600;
