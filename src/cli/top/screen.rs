//! Draws the screen of `serf top`.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span, Text},
    widgets::{Cell, Paragraph, Row as TableRow, Table, Wrap},
};

use super::{
    members::{Row, STATUSES, Sort},
    state::{Pane, State},
};

/// Data that depend on the time of drawing.
pub(super) struct Moment {
    /// Time of the day.
    pub(super) time: String,
    /// Time since the agent's last answer.
    pub(super) silence: Duration,
}

/// The visible members: index of the first, and their number.
pub(super) fn sight(state: &State, area: Rect) -> (usize, usize) {
    let [_, members, ..] = layout(state, area);
    let page = usize::from(members.height.saturating_sub(1)).max(1);
    let first = state.at().saturating_sub(page / 2);
    (first.min(state.shown().len().saturating_sub(page)), page)
}

/// Head, members, pane, keys.
fn layout(state: &State, area: Rect) -> [Rect; 4] {
    let pane = match (state.pane, area.height) {
        (_, ..10) => 0,
        (Pane::Events, height) => height / 4,
        (Pane::Member | Pane::Keys, height) => height / 2,
    };
    Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(2),
        Constraint::Length(pane),
        Constraint::Length(1),
    ])
    .areas(area)
}

/// Draws everything. Expects [`State::arrange`] to have been called.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, moment: &Moment) {
    let area = frame.area();
    let [head, members, pane, keys] = layout(state, area);
    frame.render_widget(Text::from(vec![counts(state), figures(state, moment, head.width)]), head);
    let [first, _] = [head, members];
    let time = Rect { height: first.height.min(1), ..first };
    if head.width >= WIDE {
        frame.render_widget(Line::raw(&moment.time).alignment(Alignment::Right), time);
    }
    draw_members(frame, state, members);
    draw_pane(frame, state, pane);
    frame.render_widget(hints(state, keys.width), keys);
    frame.render_widget(range(state, area), keys);
}

/// The agent's name, and the number of members with each status.
fn counts(state: &State) -> Line<'static> {
    let mut parts = vec![
        Span::styled("serf top ", Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(state.own.clone()),
    ];
    for (status, count) in state.members.statuses() {
        if count > 0 || status == STATUSES[0] {
            parts.push(Span::raw("  "));
            parts.push(Span::styled(format!("{count} {status}"), style_of(&status)));
        }
    }
    Line::from(parts)
}

fn figures(state: &State, moment: &Moment, width: u16) -> Line<'static> {
    if moment.silence >= SILENCE {
        let text = format!("the agent has not answered for {} s", moment.silence.as_secs());
        return Line::styled(text, style_of("failed"));
    }
    let figure = |key| state.figure(key).to_owned();
    let queues = [figure("intent_queue"), figure("event_queue"), figure("query_queue")];
    let [intents, events, queries] = &queues;
    let score = figure("health_score");
    let is_well = matches!(score.as_str(), "0" | "?");
    let score = Span::styled(
        format!("health {score}"),
        if is_well { Style::new() } else { style_of("leaving") },
    );
    if width < WIDE {
        return Line::from(vec![Span::raw(format!("queues {}  ", queues.join("/"))), score]);
    }
    let queues = format!("queues: intent {intents} event {events} query {queries}   ");
    let times = ["member_time", "event_time", "query_time"].map(figure).join("/");
    let encrypted = if figure("encrypted") == "true" { "   encrypted" } else { "" };
    Line::from(vec![Span::raw(queues), score, Span::raw(format!("   clocks {times}{encrypted}"))])
}

/// A column: title, sort key, width, and contents for a member.
type Column = (&'static str, Option<Sort>, usize, fn(&Row, usize) -> Cell<'static>);

/// The columns that fit a width. Names take what they need, tags the rest.
fn columns(width: usize, longest: usize) -> Vec<Column> {
    let mut columns: Vec<Column> = vec![
        ("Status", Some(Sort::Status), 8, |row, _| {
            Cell::from(row.status.clone()).style(style_of(&row.status))
        }),
        ("RTT ms", Some(Sort::Rtt), 8, |row, _| {
            right(row.rtt_ms.map_or_else(String::new, |rtt| format!("{rtt:.2}")))
        }),
    ];
    if width >= 60 {
        columns.push(("Flaps", Some(Sort::Flaps), 7, |row, _| {
            right(if row.flaps > 0 { row.flaps.to_string() } else { String::new() })
        }));
        let addr = if width < 100 { 16 } else { 24 };
        columns.push(("Address", Some(Sort::Address), addr, |row, width| {
            Cell::from(cut(&row.addr, width))
        }));
    }
    if width >= 140 {
        columns.push(("Version", None, 7, |row, _| right(row.version.to_string())));
    }
    let others = columns.iter().map(|(_, _, width, _)| width + 1).sum();
    let room = width.saturating_sub(others);
    let names = longest.clamp(NAMES_MIN.min(room), room);
    let tags = room.saturating_sub(names + 1);
    columns.insert(
        0,
        ("Name", Some(Sort::Name), names, |row, width| Cell::from(cut(&row.label, width))),
    );
    if tags >= TAGS_MIN {
        columns.push(("Tags", None, tags, |row, width| Cell::from(cut(&row.tags, width))));
    }
    columns
}

/// Cuts a text to a width and marks the cut.
fn cut(text: &str, width: usize) -> String {
    if Line::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(width).collect();
    while Line::raw(kept.as_str()).width() >= width && kept.pop().is_some() {}
    kept + "…"
}

fn right(text: String) -> Cell<'static> {
    Cell::from(Line::raw(text).alignment(Alignment::Right))
}

fn draw_members(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let columns = columns(area.width.into(), state.longest());
    let (first, page) = sight(state, frame.area());
    let shown = state.shown().iter().enumerate().skip(first).take(page);
    let rows = shown.filter_map(|(n, name)| {
        let row = state.members.get(name)?;
        let style = if n == state.at() {
            Style::new().add_modifier(Modifier::REVERSED)
        } else {
            Style::new()
        };
        Some(TableRow::new(columns.iter().map(|(.., width, cell)| cell(row, *width))).style(style))
    });
    let titles = columns.iter().map(|(title, sort, ..)| {
        let is_chosen = *sort == Some(state.sort);
        let is_falling = matches!(state.sort, Sort::Rtt | Sort::Flaps) != state.is_reversed;
        let arrow = match (is_chosen, is_falling) {
            (false, _) => "",
            (true, false) => "↑",
            (true, true) => "↓",
        };
        let alignment = match *title {
            "RTT ms" | "Flaps" | "Version" => Alignment::Right,
            _ => Alignment::Left,
        };
        let style = if is_chosen { Style::new().add_modifier(BAR | Modifier::BOLD) } else { bar() };
        Cell::from(Line::raw(format!("{title}{arrow}")).alignment(alignment)).style(style)
    });
    let widths = columns
        .iter()
        .map(|(_, _, width, _)| Constraint::Length(u16::try_from(*width).unwrap_or(u16::MAX)));
    let table = Table::new(rows, widths).header(TableRow::new(titles).style(bar()));
    frame.render_widget(table, area);
    if state.shown().is_empty() && area.height > 1 {
        let text = match state.members.len() {
            0 => "no members yet",
            _ => "no member matches the filter",
        };
        let area = Rect { y: area.y + 1, height: 1, ..area };
        frame.render_widget(Line::raw(text).alignment(Alignment::Center), area);
    }
}

fn draw_pane(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let (title, lines) = match state.pane {
        Pane::Events => {
            let lost =
                if state.lost > 0 { format!(", {} lost", state.lost) } else { String::new() };
            let lines = state.events.iter().take(area.height.into());
            let lines = lines.map(|line| Line::styled(line.clone(), style_of_event(line)));
            (format!("Events, newest first{lost}"), lines.collect())
        }
        Pane::Member => ("Member".to_owned(), state.marked().map(details).unwrap_or_default()),
        Pane::Keys => ("Keys".to_owned(), KEYS.map(Line::raw).into()),
    };
    let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new(title).style(bar()), head);
    let text = Paragraph::new(lines);
    // Events take one line each; other panes are wrapped, to show all of their text.
    let text = if state.pane == Pane::Events { text } else { text.wrap(Wrap { trim: false }) };
    frame.render_widget(text, body);
}

fn details(row: &Row) -> Vec<Line<'static>> {
    let rtt = row.rtt_ms.map_or_else(|| "unknown".to_owned(), |rtt| format!("{rtt:.3} ms"));
    let title = Style::new().add_modifier(Modifier::BOLD);
    vec![
        Line::from(vec![
            Span::styled(row.label.clone(), title),
            Span::raw("  "),
            Span::styled(row.status.clone(), style_of(&row.status)),
        ]),
        Line::raw(format!("address  {}", row.addr)),
        Line::raw(format!("RTT      {rtt}")),
        Line::raw(format!("flaps    {} since this program runs", row.flaps)),
        Line::raw(format!("version  {} of Serf's protocol", row.version)),
        Line::raw(format!("tags     {}", row.tags)),
    ]
}

fn bar() -> Style {
    Style::new().add_modifier(BAR)
}

fn style_of(status: &str) -> Style {
    match status {
        "alive" => Style::new().fg(Color::Green),
        "failed" => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
        "leaving" => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

fn style_of_event(line: &str) -> Style {
    match line.split(' ').nth(1) {
        Some("member-failed:") => Style::new().fg(Color::Red),
        Some("member-join:") => Style::new().fg(Color::Green),
        _ => Style::new(),
    }
}

/// Help for the keys, as far as it fits beside the range.
fn hints(state: &State, width: u16) -> Line<'static> {
    let filter = &state.filter;
    if state.is_typing {
        return Line::raw(format!("filter: {filter}_"));
    }
    let mut hints = vec!["q quit", "/ filter", "? keys", "Enter member", "sort: n s r f a"];
    let set = format!("filter: {filter} (Esc)");
    if !filter.is_empty() {
        hints = vec!["q quit", &set];
    }
    let mut text = String::new();
    for hint in hints {
        if text.is_empty() || text.len() + hint.len() + 2 + RANGE_WIDTH <= width.into() {
            let space = if text.is_empty() { "" } else { "  " };
            text.push_str(space);
            text.push_str(hint);
        }
    }
    Line::raw(text)
}

/// The range of visible members.
fn range(state: &State, area: Rect) -> Line<'static> {
    let (first, page) = sight(state, area);
    let (shown, all) = (state.shown().len(), state.members.len() + state.members.left_out);
    let last = (first + page).min(shown);
    let of = if shown == all { String::new() } else { format!(" ({all})") };
    let text = format!(" {}-{last} of {shown}{of}", (first + 1).min(shown));
    Line::raw(text).alignment(Alignment::Right)
}

const BAR: Modifier = Modifier::REVERSED;
/// Width from which words are not abbreviated.
const WIDE: u16 = 72;
/// Least widths of names, if they fit, and of tags.
const NAMES_MIN: usize = 12;
const TAGS_MIN: usize = 8;
/// Width of the range in the last line.
const RANGE_WIDTH: usize = 20;
/// Time without an answer after which the screen says so.
const SILENCE: Duration = Duration::from_secs(4);
const KEYS: [&str; 10] = [
    "n s r f a   sort by name, status, RTT, flaps, address; again: reversed",
    "/           filter: words that name, address, status or tags have to contain",
    "Esc         no filter, or close what is open here",
    "Enter       all about the marked member",
    "arrows j k  move; Page Up, Page Down, Home, End",
    "Ctrl-Z      suspend",
    "q, Ctrl-C   quit",
    "RTT         estimated from the network coordinates, from the agent to the member",
    "Flaps       how often it came back from a failure since this program runs",
    "health      0 is best; clocks: Lamport times of members, events, queries",
];

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend, crossterm::event::KeyEvent};

    use super::*;
    use crate::cli::top::{
        feed::News,
        members::tests::{coordinate, member},
    };

    fn drawn(state: &mut State, width: u16, height: u16) -> String {
        state.arrange();
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let moment = Moment { time: "12:00:00".into(), silence: Duration::ZERO };
        terminal.draw(|frame| draw(frame, state, &moment)).unwrap();
        terminal.backend().to_string()
    }

    fn cluster(count: usize) -> State {
        let mut state = State::new("node-0".into());
        let name = |n: usize| format!("node-{n}");
        let mut members: Vec<_> = (0..count).map(|n| member(&name(n), "alive")).collect();
        members[1].status = "failed".into();
        state.take(News::Members(members), "");
        let places = (0..count).map(|n| (name(n).into(), coordinate(n as f64 / 1e3)));
        state.take(News::Coordinates(places.collect()), "");
        let figures = [("intent_queue", "7"), ("health_score", "2"), ("encrypted", "true")];
        let figures = figures.map(|(key, value)| (key.to_owned(), value.to_owned()));
        state.take(News::Figures(figures.into()), "");
        state
    }

    #[test]
    fn a_usual_screen_has_all_of_it() {
        let text = drawn(&mut cluster(3), 80, 24);
        for wanted in [
            "serf top node-0  2 alive  1 failed",
            "12:00:00",
            "queues: intent 7 event ? query ?   health 2   clocks ?/?/?   encrypted",
            "Name↑",
            "node-1       failed       3.00         10.0.0.1:7946    role=web",
            "Events, newest first",
            "q quit  / filter  ? keys  Enter member",
            "1-3 of 3",
        ] {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        // The agent has no round trip to itself.
        let own = format!("{:<13}{:<26}10.0.0.1:7946", "node-0", "alive");
        assert!(text.contains(&own), "{text}");
    }

    #[test]
    fn a_small_screen_has_what_matters_and_a_large_one_uses_its_room() {
        let mut state = cluster(1_000);
        let text = drawn(&mut state, 40, 12);
        for wanted in ["999 alive", "queues 7/?/?  health 2", "node-1       failed", "1-5 of 1000"]
        {
            assert!(text.contains(wanted), "no {wanted:?} in\n{text}");
        }
        assert!(!text.contains("Address"));
        let text = drawn(&mut state, 200, 60);
        assert!(text.contains("Version") && text.contains("1-41 of 1000"), "{text}");
    }

    #[test]
    fn names_have_the_room_that_they_need_and_what_is_cut_has_a_mark() {
        let mut state = State::new("a".into());
        let long = "gateway-of-the-second-floor.eu-west-1.example.net";
        state.take(
            News::Members(vec![member(long, "alive"), member("東京東京東京東京東京", "alive")]),
            "",
        );
        let text = drawn(&mut state, 80, 24);
        assert!(text.contains("gateway-of-the-second-floor.eu-west-… alive"), "{text}");
        assert!(!text.contains("Tags"));
        let text = drawn(&mut state, 30, 12);
        assert!(text.contains("gateway-of-… alive") && text.contains("東京東京東…"), "{text}");
        let text = drawn(&mut state, 200, 60);
        assert!(text.contains(long) && text.contains("role=web"), "{text}");
    }

    #[test]
    fn the_marked_member_is_in_sight_and_shown_as_a_whole() {
        use ratatui::crossterm::event::{KeyCode, KeyModifiers};
        let mut state = cluster(1_000);
        for code in [KeyCode::End, KeyCode::Enter] {
            state.press(KeyEvent::new(code, KeyModifiers::NONE), 10);
        }
        let text = drawn(&mut state, 80, 24);
        assert!(text.contains("993-1000 of 1000"), "{text}");
        assert!(
            text.contains("RTT      1001.000 ms") && text.contains("tags     role=web"),
            "{text}"
        );
        state.filter = "nothing like it".into();
        state.press(KeyEvent::new(KeyCode::Left, KeyModifiers::NONE), 10);
        let text = drawn(&mut state, 80, 24);
        assert!(text.contains("no member matches the filter"), "{text}");
        assert!(text.contains("0-0 of 0 (1000)"), "{text}");
    }

    #[test]
    fn any_size_can_be_drawn_and_silence_is_said() {
        let mut state = State::new("own\u{1b}[2J".into());
        state.arrange();
        for pane in [Pane::Events, Pane::Member, Pane::Keys] {
            state.pane = pane;
            for (width, height) in [(1, 1), (2, 3), (20, 5), (39, 10), (80, 24), (300, 100)] {
                let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
                let moment = Moment { time: "12:00:00".into(), silence: Duration::from_secs(9) };
                terminal.draw(|frame| draw(frame, &state, &moment)).unwrap();
                let text = terminal.backend().to_string();
                assert!(!text.contains('\u{1b}'));
                if width >= 80 {
                    assert!(text.contains("serf top own\\u{1b}[2J  0 alive"), "{text}");
                    assert!(text.contains("the agent has not answered for 9 s"), "{text}");
                }
            }
        }
    }
}
