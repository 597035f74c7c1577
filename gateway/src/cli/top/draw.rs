//! Puts figures on the screen. Everything here is a function of what was read and chosen, so that
//! a test can draw on a screen of its own.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as TextLine, Span};
use ratatui::widgets::{Block, Borders, Cell as TableCell, Clear, Paragraph, Row, Sparkline, Tabs};
use ratatui::widgets::{Table as TableWidget, TableState, Wrap};
use roomwire_metrics::{GatewayState, text};

use super::app::{App, Tab};
use super::table::{Cell, Line, Mood, Table, bytes, grouped, micros, shown_rate};
use super::watch::{Trail, Watch};
use crate::lifecycle::Clock;

/// Rows of the screen that a tile takes: two of border, one of figures, the rest a line.
const TILE_HEIGHT: u16 = 6;
const TILE_COLUMNS: usize = 3;

pub(super) fn draw(frame: &mut Frame<'_>, watch: &Watch, app: &mut App) {
    let [head, tabs, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(3),
        Constraint::Length(2),
    ])
    .areas(frame.area());
    frame.render_widget(headline(watch, app), head);
    let titles = (Tab::ALL.iter())
        .zip(1..)
        .map(|(tab, key)| format!("{key} {}", tab.title()));
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    let tab_line = Tabs::new(titles)
        .select(app.tab as usize)
        .highlight_style(chosen);
    frame.render_widget(tab_line, tabs);
    let help = match app.tab {
        Tab::Overview => {
            overview(frame, body, watch);
            String::new()
        }
        tab => table(frame, body, Table::of(tab, watch), app),
    };
    frame.render_widget(footer(app, help), foot);
    if app.shows_help {
        help_window(frame);
    }
}

fn headline(watch: &Watch, app: &App) -> Paragraph<'static> {
    let (Some(snapshot), Some(state)) = (watch.snapshot(), watch.state()) else {
        let problem = watch.problem().unwrap_or("reading").to_owned();
        return Paragraph::new(problem).style(Style::new().fg(Color::Red));
    };
    let line = text::headline(snapshot, state, Clock::unix_ms());
    let style = match state {
        GatewayState::Running => Style::new().fg(Color::Green),
        GatewayState::Starting | GatewayState::Draining => Style::new().fg(Color::Yellow),
        GatewayState::Stopped | GatewayState::Dead | GatewayState::Stalled => {
            Style::new().fg(Color::Red).add_modifier(Modifier::BOLD)
        }
    };
    let mut spans = vec![Span::styled(line, style)];
    if app.is_paused() {
        spans.push(Span::styled(
            "  PAUSED",
            Style::new().add_modifier(Modifier::REVERSED),
        ));
    }
    if let Some(problem) = watch.problem() {
        spans.push(Span::styled(
            format!("  {problem}"),
            Style::new().fg(Color::Red),
        ));
    }
    Paragraph::new(TextLine::from(spans))
}

fn footer(app: &App, help: String) -> Paragraph<'static> {
    let keys = if app.is_typing || !app.filter.is_empty() {
        let cursor = if app.is_typing {
            "_"
        } else {
            "  (Esc clears it)"
        };
        format!("filter: {}{cursor}", app.filter)
    } else {
        "1-7 Tab: what is shown   /: filter   s r: sort   p: pause   ?: help   q: end".to_owned()
    };
    let faint = Style::new().add_modifier(Modifier::DIM);
    Paragraph::new(vec![TextLine::from(help), TextLine::styled(keys, faint)])
}

/// A figure with its trail.
struct Tile {
    title: &'static str,
    trail: Trail,
    now: String,
}

fn overview(frame: &mut Frame<'_>, area: Rect, watch: &Watch) {
    let rate = |name: &str| watch.rate(name).map_or_else(|| "-".to_owned(), shown_rate);
    let latency = watch.lately("hub_publish_to_flush_us");
    let latency = latency.filter(|values| values.count() > 0);
    let latency = latency.map_or_else(
        || "no message".to_owned(),
        |values| format!("p50 {}  p99 {}", micros(values.p50()), micros(values.p99())),
    );
    let bytes_out = watch.trail(Trail::BytesOut).back().copied().unwrap_or(0);
    let troubles = watch
        .trouble_rate()
        .map_or_else(|| "-".to_owned(), shown_rate);
    let tiles = [
        Tile {
            title: "Sessions",
            trail: Trail::Sessions,
            now: grouped(watch.value("sessions")),
        },
        Tile {
            title: "Messages in /s",
            trail: Trail::Published,
            now: rate("hub_publishes_total"),
        },
        Tile {
            title: "Messages out /s",
            trail: Trail::Delivered,
            now: rate("hub_deliveries_total"),
        },
        Tile {
            title: "Bytes out /s",
            trail: Trail::BytesOut,
            now: bytes(bytes_out),
        },
        Tile {
            title: "Publish to flush",
            trail: Trail::Latency,
            now: latency,
        },
        Tile {
            title: "Errors and drops /s",
            trail: Trail::Troubles,
            now: troubles,
        },
    ];
    let rows = tiles.len().div_ceil(TILE_COLUMNS);
    let mut heights = vec![Constraint::Length(TILE_HEIGHT); rows];
    heights.push(Constraint::Min(0));
    let areas = Layout::vertical(heights).split(area);
    for (line, tiles) in areas.iter().zip(tiles.chunks(TILE_COLUMNS)) {
        let columns = Layout::horizontal([Constraint::Fill(1); TILE_COLUMNS]).split(*line);
        for (place, tile) in columns.iter().zip(tiles) {
            draw_tile(frame, *place, watch, tile);
        }
    }
    if let Some(rest) = areas.last() {
        frame.render_widget(facts(watch), *rest);
    }
}

fn draw_tile(frame: &mut Frame<'_>, area: Rect, watch: &Watch, tile: &Tile) {
    let bad = tile.trail == Trail::Troubles && watch.trouble_rate().is_some_and(|rate| rate > 0.0);
    let color = if bad { Color::Red } else { Color::Cyan };
    let frame_block = Block::new().borders(Borders::ALL).title(tile.title);
    let inner = frame_block.inner(area);
    frame.render_widget(frame_block, area);
    let [now, line] = Layout::vertical([Constraint::Length(1), Constraint::Min(1)]).areas(inner);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    frame.render_widget(Paragraph::new(tile.now.clone()).style(bold), now);
    let width = usize::from(line.width);
    let trail = watch.trail(tile.trail);
    let data: Vec<u64> = trail
        .iter()
        .skip(trail.len().saturating_sub(width))
        .copied()
        .collect();
    frame.render_widget(
        Sparkline::default()
            .data(&data)
            .style(Style::new().fg(color)),
        line,
    );
}

/// What a line of its own has no need for.
fn facts(watch: &Watch) -> Paragraph<'static> {
    let now = |name: &str| grouped(watch.value(name));
    let size = |name: &str| bytes(watch.value(name));
    let lines = [
        format!(
            "rooms {}   patterns {}   UDP peers {}   messages kept {} ({})",
            now("hub_rooms"),
            now("hub_patterns"),
            now("udp_sessions"),
            now("hub_history_messages"),
            size("hub_history_bytes")
        ),
        format!(
            "waiting in outboxes {}   memory {}   descriptors {} of {}",
            size("outbox_bytes"),
            size("process_memory_bytes"),
            now("process_descriptors"),
            now("process_descriptors_max")
        ),
    ];
    Paragraph::new(lines.map(TextLine::from).to_vec())
}

/// Draws a table and returns what the chosen line means.
fn table(frame: &mut Frame<'_>, area: Rect, mut table: Table, app: &mut App) -> String {
    let columns = table.columns.len().max(1);
    let sort = app.sort();
    let column = sort.column.map_or(table.order, |column| column % columns);
    table.filter(&app.filter);
    table.sort(column, sort.reverse);
    app.select_within(table.lines.len());
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let head = table.columns.iter().enumerate().map(|(at, title)| {
        let arrow = match at == column {
            true if sort.reverse => "▲",
            true => "▼",
            false => "",
        };
        TableCell::from(format!("{title}{arrow}"))
    });
    let head = Row::new(head).style(bold);
    let widths = widths(&table, area.width);
    let rows = table.lines.iter().map(|line| row(line, &widths));
    let chosen = Style::new().add_modifier(Modifier::REVERSED);
    let widget = TableWidget::new(rows, widths.iter().map(|width| Constraint::Length(*width)))
        .header(head)
        .row_highlight_style(chosen);
    let mut state = TableState::default().with_selected(Some(app.selected));
    frame.render_stateful_widget(widget, area, &mut state);
    if table.lines.is_empty() {
        let [_, below] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        let text = if app.filter.is_empty() {
            "nothing here"
        } else {
            "nothing here has the filter's text in it"
        };
        frame.render_widget(Paragraph::new(text), below);
    }
    let chosen = table.lines.get(app.selected);
    chosen.map_or_else(String::new, |line| line.help.clone())
}

/// Each column as wide as its widest cell, the last one as wide as is left.
fn widths(table: &Table, width: u16) -> Vec<u16> {
    let mut left = width;
    (0..table.columns.len())
        .map(|column| {
            let title = table.columns[column].chars().count() + 1;
            let cells = table.lines.iter().filter_map(|line| line.cells.get(column));
            let widest = cells
                .map(|cell| cell.text().chars().count())
                .max()
                .unwrap_or(0);
            let wanted = u16::try_from(widest.max(title)).unwrap_or(u16::MAX);
            // A name of 255 bytes leaves room for the figures.
            let most = if column == 0 { width / 2 } else { left };
            let width = wanted.min(most.max(1)).min(left);
            left = left.saturating_sub(width + 1);
            width
        })
        .collect()
}

fn row(line: &Line, widths: &[u16]) -> Row<'static> {
    let style = match line.mood {
        Mood::Plain => Style::new(),
        Mood::Past => Style::new().fg(Color::Yellow),
        Mood::Bad => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
    };
    let cells = line
        .cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| match cell {
            Cell::Text(text) => TableCell::from(text.clone()),
            Cell::Number(text, _) => {
                let width = usize::from(*width);
                TableCell::from(format!("{text:>width$}"))
            }
        });
    Row::new(cells).style(style)
}

const HELP: &str = "\
1 to 7, Tab, arrows   choose what is shown
up, down, PgUp, PgDn  choose a line; what it means is at the bottom
/                     show only lines with a text in them, Esc clears it
s                     sort by the next column
r                     reverse the order
p, space              pause, so that figures stand still
q, Esc                end

Red: it happens now. Yellow: it happened since the gateway started.
All figures come from shared memory: the gateway is not asked.";

fn help_window(frame: &mut Frame<'_>) {
    let area = frame.area();
    let (width, height) = (74.min(area.width), 13.min(area.height));
    let place = Rect {
        x: (area.width - width) / 2,
        y: (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    let block = Block::new()
        .borders(Borders::ALL)
        .title("Keys")
        .title_alignment(Alignment::Center);
    frame.render_widget(
        Paragraph::new(HELP).block(block).wrap(Wrap { trim: false }),
        place,
    );
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::{KeyCode, KeyEvent};
    use roomwire_metrics::{BlockId, BusyRoom, Id, LaneWriter, Page, PageOptions};

    use super::*;
    use crate::cli::top::text_of;

    /// A gateway of two workers that published twice, a second apart.
    fn watched() -> Watch {
        let options = PageOptions {
            listeners: vec!["web".to_owned(), "chat".to_owned()],
            start_unix_ms: Clock::unix_ms(),
            ..PageOptions::new("main", 2)
        };
        let page = Page::anonymous(&options).expect("the options are good");
        let lanes = [0, 1].map(|worker| page.lane(worker).expect("it is free"));
        let mut watch = Watch::new("unused".into());
        let began = Instant::now();
        let count = |lane: &LaneWriter, times: u64| {
            lane.add(Id::Publishes, times);
            lane.add(Id::ErrorsJson, times / 100);
            lane.increment(Id::HttpBadRequests);
            lane.gauge_set(Id::Sessions, times);
            lane.block_add(
                page.listener_block(1),
                BlockId::ListenerBytesIn,
                times * 1024,
            );
            lane.block_gauge_add(page.listener_block(1), BlockId::ListenerSessions, 1);
            lane.record_many(Id::PublishToFlushMicros, 1_500, times);
            lane.publish();
        };
        page.set_busy_rooms(&[BusyRoom {
            name: "lobby".to_owned(),
            per_1000_s: 12_500,
            members: 3,
            ..BusyRoom::default()
        }]);
        lanes.iter().for_each(|lane| count(lane, 10));
        watch.take(began, page.snapshot());
        lanes.iter().for_each(|lane| count(lane, 600));
        watch.take(began + Duration::from_secs(1), page.snapshot());
        watch.set_state(GatewayState::Running);
        watch
    }

    fn screen(watch: &Watch, app: &mut App, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, watch, app)).unwrap();
        text_of(terminal.backend().buffer())
    }

    fn check(tab: Tab, expected: &[&str]) {
        let shown = screen(&watched(), &mut App::new(tab, ""), 140, 40);
        for part in expected {
            assert!(shown.contains(part), "no {part:?} in\n{shown}");
        }
    }

    #[test]
    fn each_tab_shows_its_figures() {
        check(
            Tab::Overview,
            &["running for", "Messages in /s", "1,200", "p99 1.49 ms", "█"],
        );
        check(Tab::Listeners, &["chat", "1.17 MiB", "LISTENER", "web"]);
        check(Tab::Rooms, &["lobby", "12.5"]);
        check(Tab::Workers, &["WORKER", "turns"]);
        check(
            Tab::Latency,
            &["hub_publish_to_flush_us", "1.49 ms", "1,200"],
        );
        check(
            Tab::Errors,
            &["command_errors_json_total", "12.0", "Look at the client"],
        );
        check(Tab::All, &["hub_publishes_total", "1,220"]);
    }

    #[test]
    fn the_chosen_line_says_what_it_means() {
        let shown = screen(&watched(), &mut App::new(Tab::Errors, ""), 140, 40);
        let bottom: Vec<&str> = shown.lines().rev().take(2).collect();
        assert!(bottom[1].contains("not valid JSON"), "{shown}");
    }

    #[test]
    fn lines_are_sorted_and_filtered_as_asked() {
        let watch = watched();
        let mut app = App::new(Tab::Listeners, "");
        let first = |app: &mut App| {
            let shown = screen(&watch, app, 140, 40);
            shown.lines().nth(3).unwrap_or("").trim().to_owned()
        };
        assert!(first(&mut app).starts_with("chat"), "most sessions first");
        for key in ['s', 'r'] {
            app.press(KeyEvent::from(KeyCode::Char(key)));
        }
        assert!(first(&mut app).starts_with("web"), "by name, reversed");
        app.filter = "CHAT".to_owned();
        let shown = screen(&watch, &mut app, 140, 40);
        assert!(shown.contains("chat") && !shown.contains("web "), "{shown}");
        app.filter = "no such thing".to_owned();
        assert!(screen(&watch, &mut app, 140, 40).contains("nothing here"));
    }

    #[test]
    fn no_screen_is_too_small_or_too_large() {
        let watch = watched();
        for (width, height) in [(1, 1), (5, 3), (20, 8), (80, 24), (400, 200)] {
            for tab in Tab::ALL {
                let mut app = App::new(tab, "");
                app.shows_help = true;
                app.selected = usize::MAX;
                screen(&watch, &mut app, width, height);
            }
        }
    }

    #[test]
    fn a_page_that_was_never_read_says_so() {
        let watch = Watch::new("nowhere".into());
        for tab in Tab::ALL {
            assert!(screen(&watch, &mut App::new(tab, ""), 80, 24).contains("reading"));
        }
    }
}
