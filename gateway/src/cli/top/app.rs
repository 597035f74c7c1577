//! What is looked at, and what each key does to it. Knows neither figures nor the screen.

use clap::ValueEnum;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Tab {
    Overview,
    Listeners,
    Rooms,
    Workers,
    Latency,
    Errors,
    All,
}

impl Tab {
    pub(super) const ALL: [Self; 7] = [
        Self::Overview,
        Self::Listeners,
        Self::Rooms,
        Self::Workers,
        Self::Latency,
        Self::Errors,
        Self::All,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Listeners => "Listeners",
            Self::Rooms => "Rooms",
            Self::Workers => "Workers",
            Self::Latency => "Latency",
            Self::Errors => "Errors",
            Self::All => "All figures",
        }
    }

    fn step(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// What follows a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Draw,
    End,
}

/// A column that was chosen to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sort {
    /// None: the tab's own choice.
    pub(super) column: Option<usize>,
    pub(super) reverse: bool,
}

/// What the person at the terminal chose.
#[derive(Debug)]
pub(super) struct App {
    pub(super) tab: Tab,
    pub(super) filter: String,
    /// Keys go into the filter.
    pub(super) is_typing: bool,
    pub(super) shows_help: bool,
    pub(super) selected: usize,
    sorts: [Sort; Tab::ALL.len()],
    paused: bool,
}

impl App {
    pub(super) fn new(tab: Tab, filter: &str) -> Self {
        Self {
            tab,
            filter: filter.to_owned(),
            is_typing: false,
            shows_help: false,
            selected: 0,
            sorts: Default::default(),
            paused: false,
        }
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn sort(&self) -> Sort {
        self.sorts[self.tab as usize]
    }

    /// Keeps the selection among so many lines.
    pub(super) fn select_within(&mut self, lines: usize) {
        self.selected = self.selected.min(lines.saturating_sub(1));
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Next::End;
        }
        if self.is_typing {
            self.type_filter(key.code);
            return Next::Draw;
        }
        if self.shows_help {
            self.shows_help = false;
            return Next::Draw;
        }
        match key.code {
            KeyCode::Char('q') => return Next::End,
            KeyCode::Esc if self.filter.is_empty() => return Next::End,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.show(self.tab.step(1)),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Char('h') => {
                self.show(self.tab.step(Tab::ALL.len() - 1));
            }
            KeyCode::Char(digit @ '1'..='7') => {
                self.show(Tab::ALL[usize::from(digit as u8 - b'1')]);
            }
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('?') => self.shows_help = true,
            KeyCode::Char('s') => {
                let sort = &mut self.sorts[self.tab as usize];
                sort.column = Some(sort.column.map_or(0, |column| column + 1));
            }
            KeyCode::Char('r') => {
                let sort = &mut self.sorts[self.tab as usize];
                sort.reverse = !sort.reverse;
            }
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.selected += 1,
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            KeyCode::PageDown => self.selected += PAGE,
            KeyCode::Home => self.selected = 0,
            KeyCode::End => self.selected = usize::MAX,
            _ => {}
        }
        Next::Draw
    }

    fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.selected = 0;
    }

    fn type_filter(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) if self.filter.len() < MAX_FILTER => self.filter.push(letter),
            _ => {}
        }
        self.selected = 0;
    }
}

/// Lines of PageUp and PageDown.
const PAGE: usize = 15;

/// Bytes of a filter. Chosen: names of figures are shorter.
const MAX_FILTER: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn press(app: &mut App, keys: &str) -> Next {
        let mut next = Next::Draw;
        for key in keys.chars() {
            let code = match key {
                '\t' => KeyCode::Tab,
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                key => KeyCode::Char(key),
            };
            next = app.press(KeyEvent::from(code));
        }
        next
    }

    #[test]
    fn keys_choose_tabs_and_go_round() {
        let mut app = App::new(Tab::Overview, "");
        press(&mut app, "3");
        assert_eq!(app.tab, Tab::Rooms);
        press(&mut app, "7\t");
        assert_eq!(app.tab, Tab::Overview);
        press(&mut app, "h");
        assert_eq!(app.tab, Tab::All);
    }

    #[test]
    fn a_filter_takes_letters_that_are_keys_elsewhere_and_escape_clears_it() {
        let mut app = App::new(Tab::All, "");
        press(&mut app, "/queue");
        assert_eq!((app.filter.as_str(), app.is_typing), ("queue", true));
        press(&mut app, "\np");
        assert!(!app.is_typing && app.is_paused());
        assert_eq!(press(&mut app, "\u{1b}"), Next::Draw);
        assert_eq!(app.filter, "");
        assert_eq!(press(&mut app, "\u{1b}"), Next::End);
        assert_eq!(press(&mut app, "q"), Next::End);
    }

    #[test]
    fn each_tab_is_sorted_as_it_was_left() {
        let mut app = App::new(Tab::Rooms, "");
        press(&mut app, "ssr4");
        assert_eq!(app.sort(), Sort::default());
        press(&mut app, "3");
        assert_eq!(
            app.sort(),
            Sort {
                column: Some(1),
                reverse: true
            }
        );
    }
}
