//! Runs the terminal: reads keys, draws, and restores it at the end.

use std::{io, sync::Arc, thread, time::Duration};

use ratatui::{
    DefaultTerminal, Terminal,
    backend::Backend,
    crossterm::event::{self, Event, KeyEventKind},
    layout::{Position, Rect},
};
use tokio::{
    sync::{
        mpsc::{self, Receiver},
        watch,
    },
    time::{Instant, sleep, timeout_at},
};

use super::{
    feed::{self, News},
    screen::{self, Moment},
    state::{Pressed, State},
};
use crate::client::{Client, Error};

/// The request of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Ask {
    End,
    Suspend,
}

/// Why the program ends.
pub(in crate::cli) enum End {
    /// A key or a signal requested it.
    Quit,
    /// The connection to the agent failed.
    Agent(Error),
    /// The terminal failed.
    Terminal(String),
}

/// Shows the agent's cluster until a key, a signal or the agent ends it.
pub(in crate::cli) async fn run(client: Client, own: String, asks: Receiver<Ask>) -> End {
    let own: Arc<str> = own.into();
    let mut screen = match Screen::take() {
        Ok(screen) => screen,
        Err(error) => return End::Terminal(error.to_string()),
    };
    let (send, news) = mpsc::channel(QUEUE);
    let (seen, wanted) = watch::channel(Vec::new());
    let feed = tokio::spawn(feed::run(client, Arc::clone(&own), wanted, send));
    let mut view = View { state: State::new(own), seen, heard: Instant::now() };
    let (keys, mut inputs) = (keys(), Inputs { asks, news });
    let mut keys = keys;
    let end = loop {
        match view.show(&mut screen.0, &mut keys, &mut inputs).await {
            // Suspended: the shell uses the terminal until the program continues.
            None => {
                drop(screen);
                let _ = signal_hook::low_level::emulate_default_handler(SUSPEND);
                screen = match Screen::take() {
                    Ok(screen) => screen,
                    Err(error) => break End::Terminal(error.to_string()),
                };
            }
            Some(end) => break end,
        }
    };
    match end {
        // The feed knows why the agent's connection ended.
        End::Agent(_) => match feed.await {
            Ok(Err(error)) => End::Agent(error),
            _ => end,
        },
        _ => end,
    }
}

/// The terminal; restored when this value is dropped, and on a panic.
struct Screen(DefaultTerminal);

impl Screen {
    fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Not `ratatui::restore`, which prints errors: the terminal may be gone.
        let _ = ratatui::try_restore();
    }
}

/// Inputs other than the keyboard.
struct Inputs {
    asks: Receiver<Ask>,
    news: Receiver<News>,
}

/// The displayed state.
struct View {
    state: State,
    /// Visible members, whose coordinates are requested first.
    seen: watch::Sender<Vec<Arc<str>>>,
    heard: Instant,
}

impl View {
    /// Draws until the program ends; `None`: it is to be suspended.
    async fn show<B: Backend>(
        &mut self,
        terminal: &mut Terminal<B>,
        keys: &mut Receiver<Event>,
        inputs: &mut Inputs,
    ) -> Option<End> {
        loop {
            if let Err(error) = self.draw(terminal) {
                return Some(End::Terminal(error.to_string()));
            }
            tokio::select! {
                event = keys.recv() => match event {
                    Some(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                        let size = terminal.size().unwrap_or_default();
                        let area = Rect::from((Position::ORIGIN, size));
                        let (_, page) = screen::sight(&self.state, area);
                        match self.state.press(key, page) {
                            Pressed::Nothing => {}
                            Pressed::Quit => return Some(End::Quit),
                            Pressed::Suspend => return None,
                        }
                    }
                    // Redraw in the new size.
                    Some(_) => {}
                    None => return Some(End::Terminal("it is gone".to_owned())),
                },
                first = inputs.news.recv() => match first {
                    Some(first) => self.take(first, keys, inputs).await,
                    None => return Some(End::Agent(Error::Closed)),
                },
                asked = inputs.asks.recv() => match asked {
                    Some(Ask::Suspend) => return None,
                    Some(Ask::End) | None => return Some(End::Quit),
                },
                () = sleep(CLOCK) => {}
            }
        }
    }

    /// Collects news that arrive together, so that they are drawn once; a key ends the wait.
    async fn take(&mut self, first: News, keys: &Receiver<Event>, inputs: &mut Inputs) {
        let time = now();
        let end = Instant::now() + TOGETHER;
        self.heard = Instant::now();
        self.state.take(first, &time);
        while keys.is_empty() && inputs.asks.is_empty() {
            match timeout_at(end, inputs.news.recv()).await {
                Ok(Some(next)) if Instant::now() < end => self.state.take(next, &time),
                Ok(Some(last)) => return self.state.take(last, &time),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn draw<B: Backend>(&mut self, terminal: &mut Terminal<B>) -> Result<(), B::Error> {
        self.state.arrange();
        let moment = Moment { time: now(), silence: self.heard.elapsed() };
        let mut area = Rect::default();
        terminal.draw(|frame| {
            area = frame.area();
            screen::draw(frame, &self.state, &moment);
        })?;
        let (first, page) = screen::sight(&self.state, area);
        let seen = self.state.shown().iter().skip(first).take(page).cloned().collect();
        self.seen.send_replace(seen);
        Ok(())
    }
}

fn now() -> String {
    jiff::Zoned::now().strftime("%H:%M:%S").to_string()
}

/// Reads keys and size changes of the terminal on a thread that ends with the program.
fn keys() -> Receiver<Event> {
    let (send, keys) = mpsc::channel(QUEUE);
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if send.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}

const SUSPEND: i32 = signal_hook::consts::SIGTSTP;
/// Most keys, and most news, waiting.
const QUEUE: usize = 64;
/// News that arrive within this time are drawn together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Longest time between two drawings.
const CLOCK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use ratatui::{
        backend::TestBackend,
        crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    };

    use super::*;
    use crate::cli::top::members::tests::member;

    /// All that a view needs, and the other ends.
    struct Stage {
        view: View,
        terminal: Terminal<TestBackend>,
        keys: Receiver<Event>,
        inputs: Inputs,
        send_key: Option<mpsc::Sender<Event>>,
        send_news: Option<mpsc::Sender<News>>,
        ask: mpsc::Sender<Ask>,
        seen: watch::Receiver<Vec<Arc<str>>>,
    }

    impl Stage {
        fn new() -> Self {
            let (send_key, keys) = mpsc::channel(QUEUE);
            let (send_news, news) = mpsc::channel(QUEUE);
            let (ask, asks) = mpsc::channel(1);
            let (to, seen) = watch::channel(Vec::new());
            let view = View { state: State::new("a".into()), seen: to, heard: Instant::now() };
            let terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
            let inputs = Inputs { asks, news };
            let (send_key, send_news) = (Some(send_key), Some(send_news));
            Self { view, terminal, keys, inputs, send_key, send_news, ask, seen }
        }

        fn press(&self, code: KeyCode, modifiers: KeyModifiers) {
            let key = Event::Key(KeyEvent::new(code, modifiers));
            self.send_key.as_ref().unwrap().try_send(key).unwrap();
        }

        async fn show(&mut self) -> Option<End> {
            self.view.show(&mut self.terminal, &mut self.keys, &mut self.inputs).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_signals_the_agent_and_the_terminal_end_it() {
        let mut stage = Stage::new();
        stage.press(KeyCode::Char('q'), KeyModifiers::NONE);
        assert!(matches!(stage.show().await, Some(End::Quit)));
        stage.press(KeyCode::Char('z'), KeyModifiers::CONTROL);
        assert!(stage.show().await.is_none());
        for (ask, ends) in [(Ask::End, true), (Ask::Suspend, false)] {
            stage.ask.try_send(ask).unwrap();
            assert_eq!(stage.show().await.is_some(), ends);
        }
        stage.send_key = None;
        assert!(matches!(stage.show().await, Some(End::Terminal(_))));
        let mut stage = Stage::new();
        stage.send_news = None;
        assert!(matches!(stage.show().await, Some(End::Agent(Error::Closed))));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_sight_is_asked_for_and_silence_is_shown() {
        let mut stage = Stage::new();
        let members = (0..1_000).map(|n| member(&format!("m{n:03}"), "alive")).collect();
        stage.send_news.as_ref().unwrap().try_send(News::Members(members)).unwrap();
        let shown = tokio::time::timeout(Duration::from_secs(9), stage.show()).await;
        assert!(shown.is_err(), "it goes on");
        let text = stage.terminal.backend().to_string();
        assert!(text.contains("m000") && text.contains("1-14 of 1000"), "{text}");
        assert!(text.contains("the agent has not answered for "), "{text}");
        assert_eq!(stage.seen.borrow().len(), 14);
        stage.press(KeyCode::End, KeyModifiers::NONE);
        stage.press(KeyCode::Char('q'), KeyModifiers::NONE);
        assert!(matches!(stage.show().await, Some(End::Quit)));
        assert_eq!(stage.seen.borrow().last().map(|name| &**name), Some("m999"));
    }

    /// Method: this program again, in a terminal of script(1), where [`panics_in_its_terminal`].
    #[cfg(target_os = "linux")]
    #[test]
    fn a_panic_gives_the_terminal_back_before_it_prints() {
        let program = std::env::current_exe().unwrap();
        let shell = format!(
            "before=$(stty -g); {} --ignored --exact cli::top::run::tests::panics_in_its_terminal \
             --nocapture; echo ended with $?; [ \"$before\" = \"$(stty -g)\" ] && echo same",
            program.display()
        );
        let mut script = std::process::Command::new("script");
        script.args(["-q", "-e", "-c", &shell, "/dev/null"]).env("TERM", "xterm-256color");
        script.env("SHELL", "/bin/sh").stdin(std::process::Stdio::null());
        let Ok(output) = script.output() else {
            let in_ci = std::env::var_os("CI").is_some_and(|set| !set.is_empty());
            assert!(!in_ci, "not run: there is no script. Install it: apt-get install bsdutils");
            return eprintln!("NOT RUN: there is no script");
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text:?}"));
        let (shown, left) = (at("\u{1b}[?1049h"), at("\u{1b}[?1049l"));
        assert!(shown < left && left < at(BROKEN), "{text:?}");
        assert!(at("ended with 101") < at("same"), "{text:?}");
    }

    #[test]
    #[ignore = "ends by a panic; the test above runs it in a terminal"]
    fn panics_in_its_terminal() {
        let mut screen = Screen::take().unwrap();
        let _ = screen.0.draw(|_| panic!("{BROKEN}"));
    }

    const BROKEN: &str = "a row that cannot be drawn";
}
