//! Measures the cost of HTTP, in turns: for agents with 10,000 members without a listener, with an
//! idle one, and with one that has 200 scrapers and 1,000 clients that do not read the answers.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    Agent, Crowd,
    flood::{Flood, Keys, flood},
    free_addr, median, report, time_lists_ms,
};

pub(crate) fn measure(program: &str) {
    let mut figures = BTreeMap::<String, Vec<f64>>::new();
    for _ in 0..ROUNDS {
        for kind in ["off", "on", "load"] {
            for (name, value) in figures_of(program, kind) {
                figures.entry(format!("http_{name}_{kind}")).or_default().push(value);
            }
        }
    }
    for (name, values) in figures {
        report(&name, median(values));
    }
}

fn figures_of(program: &str, kind: &str) -> Vec<(&'static str, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let http = free_addr();
    let listen = http.to_string();
    let flags: &[&str] = if kind == "off" { &[] } else { &["-http-addr", &listen] };
    let starts = (0..5).map(|_| Agent::start(program, flags).started_in.as_secs_f64() * 1e3);
    let start = median(starts.collect());
    let crowd = Crowd::open();
    crowd.serve();
    let agent = Agent::start(program, flags);
    runtime.block_on(agent.join(crowd.addr().to_string()));
    thread::sleep(Duration::from_secs(10));
    let idle_memory = agent.memory().0 / 1024.0;
    let load = (kind == "load").then(|| Load::start(&runtime, http));
    let before = agent.cpu();
    thread::sleep(IDLE);
    let idle = (agent.cpu() - before) / IDLE.as_secs_f64() * 100.0;
    let Flood { ping_ms, cpu_us, reached, .. } = flood(&agent, RATE, 5, Keys::None);
    let lists = time_lists_ms(&agent);
    let memory = agent.memory().0 / 1024.0;
    crowd.stop.store(true, Ordering::Relaxed);
    let mut figures = vec![
        ("start_ms", start),
        ("rss_mib", idle_memory),
        ("rss_after_mib", memory),
        ("idle_cpu_percent", idle),
        ("packet_cpu_us", cpu_us),
        ("packets_per_s", reached),
        ("ping_ms", ping_ms),
        ("members_rpc_ms", lists),
    ];
    if let Some(load) = load {
        let (streams, scrapes) = load.end();
        figures.extend([("streams_held", streams), ("scrapes_per_s", scrapes)]);
    }
    figures
}

/// Clients of every kind that there is.
struct Load {
    streams: Vec<TcpStream>,
    stop: Arc<AtomicBool>,
    scrapes: Arc<AtomicU64>,
    scrapers: Vec<thread::JoinHandle<()>>,
    began: Instant,
}

impl Load {
    fn start(runtime: &tokio::runtime::Runtime, http: SocketAddr) -> Self {
        // Each from another address, as one address has few streams.
        let streams = (0..STREAMS).filter_map(|n| {
            let from = Ipv4Addr::new(127, 1, (n / 250) as u8, (n % 250) as u8 + 1);
            let mut stream = runtime.block_on(connect(from, http)).ok()?;
            write!(stream, "GET /v1/events HTTP/1.1\r\nHost: {http}\r\n\r\n").ok()?;
            Some(stream)
        });
        let streams = streams.collect();
        let (stop, scrapes) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let scraper = |_| {
            let (stop, scrapes) = (Arc::clone(&stop), Arc::clone(&scrapes));
            thread::spawn(move || scrape(http, &stop, &scrapes))
        };
        let scrapers = (0..SCRAPERS).map(scraper).collect();
        Self { streams, stop, scrapes, scrapers, began: Instant::now() }
    }

    /// Streams that are still open, and scrapes a second.
    fn end(self) -> (f64, f64) {
        let rate = self.scrapes.load(Ordering::Relaxed) as f64 / self.began.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        for scraper in self.scrapers {
            let _ = scraper.join();
        }
        let is_open = |stream: &mut TcpStream| {
            let _ = stream.set_nonblocking(true);
            let mut buf = vec![0; 1 << 20];
            loop {
                match stream.read(&mut buf) {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
                }
            }
        };
        let mut streams = self.streams;
        (streams.iter_mut().filter_map(|stream| is_open(stream).then_some(())).count() as f64, rate)
    }
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?.into_std()?;
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Reads all metrics once a second.
fn scrape(http: SocketAddr, stop: &AtomicBool, scrapes: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        let scraped = TcpStream::connect(http).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\n\r\n")?;
            let mut text = Vec::new();
            stream.read_to_end(&mut text)?;
            Ok(text.ends_with(b"# EOF\n") || text.ends_with(b"0\r\n\r\n"))
        });
        scrapes.fetch_add(u64::from(scraped.is_ok_and(|whole| whole)), Ordering::Relaxed);
        thread::sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
    }
}

const ROUNDS: usize = 3;
const IDLE: Duration = Duration::from_secs(10);
/// Packets a second.
const RATE: u64 = 2_000;
const STREAMS: usize = 1_000;
const SCRAPERS: usize = 200;
