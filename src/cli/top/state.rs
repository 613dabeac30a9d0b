//! The displayed state and the effects of keys, without the terminal and the agent.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    text::Line,
};

use super::{
    feed::News,
    members::{Members, Row, Sort},
};
use crate::{
    base::{printable, printable_text},
    cli::event_text,
    client::EventRecord,
    rpc::protocol::MemberEventRecord,
};

/// Contents of the lower part of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Events,
    /// Details of the marked member.
    Member,
    /// Help for the keys.
    Keys,
}

/// What the program must do after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressed {
    Nothing,
    Quit,
    Suspend,
}

/// Everything that is shown.
pub(super) struct State {
    /// The agent's name, escaped.
    pub(super) own: String,
    pub(super) members: Members,
    pub(super) events: VecDeque<String>,
    pub(super) lost: u64,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) pane: Pane,
    figures: BTreeMap<String, String>,
    shown: Vec<Arc<str>>,
    /// Width of the longest visible name.
    longest: usize,
    /// Name of the marked member; `None`: the first.
    marked: Option<Arc<str>>,
    /// Its last position in the list.
    at: usize,
    /// Whether the list must be filtered and sorted again.
    is_stale: bool,
}

impl State {
    pub(super) fn new(own: Arc<str>) -> Self {
        let shown = printable(&*own).to_string();
        Self {
            own: shown,
            members: Members::new(own),
            events: VecDeque::new(),
            lost: 0,
            sort: Sort::Name,
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            pane: Pane::Events,
            figures: BTreeMap::new(),
            shown: Vec::new(),
            longest: 0,
            marked: None,
            at: 0,
            is_stale: false,
        }
    }

    /// Processes news; `time` is the time of day, for events.
    pub(super) fn take(&mut self, news: News, time: &str) {
        self.is_stale = true;
        match news {
            News::Members(members) => self.members.take_list(&members),
            News::Figures(figures) => {
                let known = figures.into_iter().filter(|(key, _)| FIGURES.contains(&key.as_str()));
                self.figures = known
                    .map(|(key, value)| (key, printable_text(&value, FIGURE_BYTES_MAX).to_string()))
                    .collect();
            }
            News::Coordinates(coordinates) => self.members.take_coordinates(coordinates),
            News::Event(event) => self.take_event(event, time),
            News::Lost(lost) => self.lost = lost,
        }
    }

    fn take_event(&mut self, mut event: EventRecord, time: &str) {
        let mut more = 0;
        if let EventRecord::Member(MemberEventRecord { event, members }) = &mut event {
            for member in &*members {
                match event.as_str() {
                    "member-reap" => drop(self.members.remove(&member.name)),
                    _ => self.members.take_one(member),
                }
            }
            more = members.len().saturating_sub(EVENT_LINES_MAX);
            members.truncate(EVENT_LINES_MAX);
        }
        let text = event_text::readable(&event, time).replace(" [EVENT] ", " ");
        for line in text.lines().take(EVENT_LINES_MAX) {
            self.events.push_front(printable_text(line, LINE_BYTES_MAX).to_string());
        }
        if more > 0 {
            self.events.push_front(format!("{time} and {more} more members"));
        }
        self.events.truncate(EVENTS_MAX);
    }

    /// Processes a key; `page` is the number of rows on the screen.
    pub(super) fn press(&mut self, key: KeyEvent, page: usize) -> Pressed {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Pressed::Quit,
                KeyCode::Char('z') => Pressed::Suspend,
                _ => Pressed::Nothing,
            };
        }
        self.arrange();
        if self.is_typing {
            self.edit(key.code);
            return Pressed::Nothing;
        }
        match key.code {
            KeyCode::Char('q') => return Pressed::Quit,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('?' | 'h') => self.toggle(Pane::Keys),
            KeyCode::Enter => self.toggle(Pane::Member),
            KeyCode::Esc if self.pane != Pane::Events => self.pane = Pane::Events,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Up | KeyCode::Char('k') => self.mark(self.at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.mark(self.at + 1),
            KeyCode::PageUp => self.mark(self.at.saturating_sub(page)),
            KeyCode::PageDown => self.mark(self.at + page),
            KeyCode::Home => self.mark(0),
            KeyCode::End => self.mark(usize::MAX),
            KeyCode::Char(letter) => {
                if let Some((_, sort)) = SORTS.iter().find(|(key, _)| *key == letter) {
                    self.is_reversed = self.sort == *sort && !self.is_reversed;
                    self.sort = *sort;
                    // Another sort key: the user wants to see the first rows.
                    (self.marked, self.at) = (None, 0);
                }
            }
            _ => {}
        }
        self.is_stale = true;
        Pressed::Nothing
    }

    fn toggle(&mut self, pane: Pane) {
        self.pane = if self.pane == pane { Pane::Events } else { pane };
    }

    /// Marks a visible row.
    fn mark(&mut self, at: usize) {
        self.at = at.min(self.shown.len().saturating_sub(1));
        self.marked = self.shown.get(self.at).filter(|_| self.at > 0).cloned();
    }

    fn edit(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(letter) if self.filter.len() < FILTER_BYTES_MAX => {
                self.filter.push(letter);
            }
            _ => return,
        }
        self.is_stale = true;
    }

    /// Filters and sorts the list if anything has changed. The mark stays on its member.
    pub(super) fn arrange(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        self.shown = self.members.arranged(&self.filter, self.sort, self.is_reversed);
        let labels = self.shown.iter().filter_map(|name| self.members.get(name));
        self.longest = labels.map(|row| Line::raw(row.label.as_str()).width()).max().unwrap_or(0);
        let place = self.marked.as_ref().and_then(|name| {
            let place = |shown: &Arc<str>| shown == name;
            self.shown.iter().position(place)
        });
        self.at = place.unwrap_or(self.at).min(self.shown.len().saturating_sub(1));
    }

    /// Position of the marked row in the list.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn marked(&self) -> Option<&Row> {
        self.shown.get(self.at).and_then(|name| self.members.get(name))
    }

    /// Names of the members that are shown.
    pub(super) fn shown(&self) -> &[Arc<str>] {
        &self.shown
    }

    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// One of the agent's statistics, such as `health_score`.
    pub(super) fn figure(&self, key: &str) -> &str {
        self.figures.get(key).map_or("?", String::as_str)
    }
}

/// Keys that choose the sort key.
pub(super) const SORTS: [(char, Sort); 5] = [
    ('n', Sort::Name),
    ('s', Sort::Status),
    ('r', Sort::Rtt),
    ('f', Sort::Flaps),
    ('a', Sort::Address),
];
/// Statistics that are shown.
const FIGURES: [&str; 8] = [
    "encrypted",
    "event_queue",
    "event_time",
    "health_score",
    "intent_queue",
    "member_time",
    "query_queue",
    "query_time",
];
const FIGURE_BYTES_MAX: usize = 20;
/// Most events that are kept.
const EVENTS_MAX: usize = 200;
/// Most lines of one event, and most of its members that get a line.
const EVENT_LINES_MAX: usize = 20;
/// Most bytes of a line of an event.
const LINE_BYTES_MAX: usize = 1024;
const FILTER_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::top::members::tests::{coordinate, member},
        rpc::protocol::UserEventRecord,
    };

    fn names(state: &mut State) -> Vec<String> {
        state.arrange();
        state.shown().iter().map(|name| (**name).to_owned()).collect()
    }

    fn press(state: &mut State, keys: &str) -> Pressed {
        let mut pressed = Pressed::Nothing;
        for letter in keys.chars() {
            let code = match letter {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                letter => KeyCode::Char(letter),
            };
            pressed = state.press(KeyEvent::new(code, KeyModifiers::NONE), 10);
        }
        pressed
    }

    fn of(event: &str, status: &str) -> News {
        let members = vec![member("b", status)];
        News::Event(EventRecord::Member(MemberEventRecord {
            event: format!("member-{event}"),
            members,
        }))
    }

    #[test]
    fn keys_sort_filter_and_end() {
        let mut state = State::new("a".into());
        let members = [("a", "alive"), ("b", "failed"), ("c", "alive")];
        let members = members.iter().map(|(name, status)| member(name, status)).collect();
        state.take(News::Members(members), "");
        let places = [("c", 0.2), ("b", 0.1), ("a", 0.0), ("nobody", 1.0)];
        let places = places.map(|(name, x)| (name.into(), coordinate(x)));
        state.take(News::Coordinates(places.into()), "");
        assert_eq!(names(&mut state), ["a", "b", "c"]);
        press(&mut state, "s");
        assert_eq!(names(&mut state), ["b", "a", "c"]);
        press(&mut state, "r");
        assert_eq!(names(&mut state), ["c", "b", "a"]);
        let rtt = state.members.get("c").unwrap().rtt_ms.unwrap();
        assert!((rtt - 202.0).abs() < 0.1, "{rtt}");
        press(&mut state, "r");
        assert_eq!(names(&mut state), ["a", "b", "c"]);
        // While a filter is typed, letters are letters.
        press(&mut state, "/ALIVE q\n");
        assert_eq!((names(&mut state).len(), state.filter.as_str()), (0, "ALIVE q"));
        press(&mut state, "\u{1b}/alive web\n");
        assert_eq!(names(&mut state), ["a", "c"]);
        assert_eq!(press(&mut state, "?\u{1b}"), Pressed::Nothing);
        assert_eq!((state.pane, state.filter.as_str()), (Pane::Events, "alive web"));
        assert_eq!(press(&mut state, "q"), Pressed::Quit);
        for (letter, pressed) in [('c', Pressed::Quit), ('z', Pressed::Suspend)] {
            let key = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
            assert_eq!(state.press(key, 10), pressed);
        }
    }

    #[test]
    fn the_mark_stays_on_its_member() {
        let mut state = State::new("a".into());
        let list = |names: &[&str]| {
            News::Members(names.iter().map(|name| member(name, "alive")).collect())
        };
        state.take(list(&["b", "d"]), "");
        press(&mut state, "j");
        assert_eq!(state.marked().unwrap().label, "d");
        state.take(list(&["a", "b", "c", "d", "e"]), "");
        state.arrange();
        assert_eq!((state.at(), state.marked().unwrap().label.as_str()), (3, "d"));
        // When it goes, the mark stays where it was, or at the end.
        state.take(list(&["a", "b"]), "");
        state.arrange();
        assert_eq!((state.at(), state.marked().unwrap().label.as_str()), (1, "b"));
        press(&mut state, "/nothing like it\n");
        state.arrange();
        assert!(state.marked().is_none());
        press(&mut state, "jk\n");
        assert_eq!(state.pane, Pane::Member);
    }

    #[test]
    fn events_change_members_and_are_bounded() {
        let mut state = State::new("a".into());
        state.take(News::Members(vec![member("b", "alive")]), "");
        for (event, status) in [("failed", "failed"), ("join", "alive"), ("join", "alive")] {
            state.take(of(event, status), "12:00:00");
        }
        assert_eq!(state.members.get("b").unwrap().flaps, 1);
        assert_eq!(state.events.len(), 3);
        assert!(state.events[2].starts_with("12:00:00 member-failed: b "), "{:?}", state.events);
        for _ in 0..2 * EVENTS_MAX {
            state.take(of("reap", "left"), "");
        }
        assert_eq!((state.events.len(), state.members.len()), (EVENTS_MAX, 0));
        let members = (0..1_000).map(|n| member(&n.to_string(), "alive")).collect();
        let event = "member-join".to_owned();
        state.take(News::Event(EventRecord::Member(MemberEventRecord { event, members })), "");
        assert_eq!(state.members.len(), 1_000);
        assert_eq!(state.events[0], " and 980 more members");
        let payload = crate::rpc::protocol::Blob(vec![b'\n'; 1 << 20]);
        let name = "x\u{1b}[2J".into();
        let event = UserEventRecord { event: "user".into(), name, payload, ..Default::default() };
        state.take(News::Event(EventRecord::User(event)), "");
        assert!(state.events[0].len() < 2 * LINE_BYTES_MAX);
        assert!(!state.events[0].contains('\u{1b}'));
        let figures = [("health_score", "1\n"), ("no_such", "1")];
        let figures = figures.map(|(key, value)| (key.to_owned(), value.repeat(1_000)));
        state.take(News::Figures(figures.into()), "");
        assert_eq!(state.figures.len(), 1);
        assert!(state.figure("health_score").starts_with("1\\n1\\n"));
        assert!(state.figure("health_score").len() < 100);
    }
}
