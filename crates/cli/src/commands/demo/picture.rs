//! What a demo looks like on a terminal: events flowing by type, services with their rates, retries, dead letters and lag, and what
//! happened last.

use super::{
    flow::{Flow, SLOT, SLOTS},
    ledger::Standing,
    occurrence::{LABEL, Occurrence},
    shown_type,
};
use crate::output::Paint;
use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, BorderType, Padding, Paragraph, Row, Table},
};
use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

/// How many lines of what happened are kept.
const LOG: usize = 100;
/// How many types are shown at most.
const TYPES: usize = 6;
const BAR: usize = 14;

pub(super) struct Picture {
    begun: Instant,
    title: String,
    colours: bool,
    part: String,
    types: HashMap<String, Flow>,
    services: HashMap<&'static str, Flow>,
    log: VecDeque<Line<'static>>,
    slots: u64,
}

impl Picture {
    pub(super) fn new(title: String, begun: Instant) -> Self {
        Self {
            begun,
            title,
            colours: Paint::on_terminal().is_on(),
            part: String::new(),
            types: HashMap::new(),
            services: HashMap::new(),
            log: VecDeque::new(),
            slots: 0,
        }
    }

    /// Takes in what happened.
    pub(super) fn note(&mut self, occurrence: &Occurrence) {
        match occurrence {
            Occurrence::Published { event, .. } => self.types.entry(shown_type(event.event_type()).to_owned()).or_default().count(),
            Occurrence::Handled { service, .. } => self.services.entry(service).or_default().count(),
            Occurrence::Part(part) => self.part.clone_from(part),
            _ => {}
        }
        if occurrence.is_notable() {
            let line = occurrence.line(Paint::NONE);
            let (label, rest) = line.split_at_checked(LABEL).unwrap_or((&line, ""));
            let label = Span::styled(label.to_owned(), self.coloured(colour_of(occurrence)));
            self.log.push_back(Line::from(vec![label, Span::raw(rest.to_owned())]));
            if self.log.len() > LOG {
                self.log.pop_front();
            }
        }
    }

    /// Moves the flows on as far as time has.
    pub(super) fn advance(&mut self) {
        let now = u64::try_from(self.begun.elapsed().as_millis() / SLOT.as_millis()).unwrap_or(u64::MAX);
        for _ in 0..now.saturating_sub(self.slots).min(SLOTS as u64) {
            self.types.values_mut().chain(self.services.values_mut()).for_each(Flow::next_slot);
        }
        self.slots = now;
    }

    pub(super) fn paint(&self, frame: &mut Frame<'_>, services: &[Standing], ending: bool) {
        let types = u16::try_from(self.types.len().clamp(3, TYPES)).unwrap_or(3);
        let count = u16::try_from(services.len()).unwrap_or(u16::MAX);
        let heights = [
            Constraint::Length(1),
            Constraint::Length(types + 3),
            Constraint::Length(count + 3),
            Constraint::Min(3),
            Constraint::Length(1),
        ];
        let [head, flows, handlers, log, foot] = Layout::vertical(heights).areas(frame.area());
        self.paint_head(frame, head, services);
        self.paint_types(frame, flows);
        self.paint_services(frame, handlers, services);
        self.paint_log(frame, log);
        let keys = if ending { "finishing what is under way" } else { "q ends it with a summary   Ctrl-C interrupts it" };
        frame.render_widget(Paragraph::new(format!(" {keys}")).style(self.dim()), foot);
    }

    fn paint_head(&self, frame: &mut Frame<'_>, area: Rect, services: &[Standing]) {
        let name = Span::styled(" eventbus demo ", Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED));
        frame.render_widget(
            Line::from(vec![
                name,
                Span::raw(format!("  {}   ", self.title)),
                Span::styled(self.part.clone(), self.coloured(Color::Magenta)),
            ]),
            area,
        );
        let lag: u64 = services.iter().map(|service| service.lag).sum();
        let clock = format!("lag {lag}   {:5.1} s ", self.begun.elapsed().as_secs_f64());
        frame.render_widget(Line::from(Span::styled(clock, self.dim())).alignment(Alignment::Right), area);
    }

    fn paint_types(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut types: Vec<(&String, &Flow)> = self.types.iter().collect();
        types.sort_by(|a, b| b.1.total().cmp(&a.1.total()).then(a.0.cmp(b.0)));
        let rows = types.iter().take(TYPES).map(|(name, flow)| {
            let flowing = Span::styled(flow.bars(), self.coloured(Color::Cyan));
            Row::new([Line::raw(name.as_str()), figure(flow.total()), rate(flow), Line::from(flowing)])
        });
        let widths = [Constraint::Min(16), Constraint::Length(9), Constraint::Length(7), Constraint::Length(SLOTS as u16)];
        let header = self.header(["event type", ">published", ">per s", &format!("last {} s", SLOTS as u128 * SLOT.as_millis() / 1000)]);
        let more = types.len().checked_sub(TYPES).filter(|more| *more > 0).map(|more| format!(" and {more} more types "));
        let block = self.block(" Events ").title_bottom(Line::from(more.unwrap_or_default()).alignment(Alignment::Right));
        frame.render_widget(Table::new(rows, widths).header(header).column_spacing(2).block(block), area);
    }

    fn paint_services(&self, frame: &mut Frame<'_>, area: Rect, services: &[Standing]) {
        let idle = Flow::default();
        let rows = services.iter().map(|service| {
            let Standing { service: name, promised, handled, given_up, retried, lag } = service;
            let alarmed = |count: u64, colour| {
                let style = if count > 0 { self.coloured(colour) } else { self.dim() };
                figure(count).style(style)
            };
            Row::new([
                Line::raw(*name),
                figure(*handled),
                rate(self.services.get(name).unwrap_or(&idle)),
                alarmed(*retried, Color::Yellow),
                alarmed(*given_up, Color::Red),
                figure(*lag),
                self.share(*handled, *given_up, *promised),
            ])
        });
        let widths = [
            Constraint::Min(12),
            Constraint::Length(7),
            Constraint::Length(6),
            Constraint::Length(7),
            Constraint::Length(12),
            Constraint::Length(5),
            Constraint::Length(BAR as u16),
        ];
        let header = self.header(["handler", ">handled", ">per s", ">retries", ">dead letters", ">lag", "done"]);
        frame.render_widget(Table::new(rows, widths).header(header).column_spacing(2).block(self.block(" Handlers ")), area);
    }

    fn paint_log(&self, frame: &mut Frame<'_>, area: Rect) {
        let room = usize::from(area.height.saturating_sub(2));
        let lines: Vec<Line<'_>> = self.log.iter().skip(self.log.len().saturating_sub(room)).cloned().collect();
        frame.render_widget(Paragraph::new(lines).block(self.block(" Retries, dead letters, requests ")), area);
    }

    /// A bar of what is handled, what is given up, and what is left.
    fn share(&self, handled: u64, given_up: u64, promised: u64) -> Line<'static> {
        let cells = |count: u64| usize::try_from(count * BAR as u64 / promised.max(1)).unwrap_or(0);
        // What is given up is seen, however little it is.
        let red = cells(given_up).max(usize::from(given_up > 0));
        let green = cells(handled).min(BAR - red);
        let rest = BAR - red - green;
        Line::from(vec![
            Span::styled("█".repeat(green), self.coloured(Color::Green)),
            Span::styled("▒".repeat(red), self.coloured(Color::Red)),
            Span::styled("·".repeat(rest), self.dim()),
        ])
    }

    fn header<const N: usize>(&self, titles: [&str; N]) -> Row<'static> {
        let cells = titles.map(|title| match title.strip_prefix('>') {
            Some(title) => Line::raw(title.to_owned()).alignment(Alignment::Right),
            None => Line::raw(title.to_owned()),
        });
        Row::new(cells).style(self.dim())
    }

    fn block(&self, title: &'static str) -> Block<'static> {
        let title = Span::styled(title, Style::new().add_modifier(Modifier::BOLD));
        Block::bordered().border_type(BorderType::Rounded).border_style(self.dim()).title(title).padding(Padding::horizontal(1))
    }

    fn coloured(&self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    fn dim(&self) -> Style {
        if self.colours { Style::new().fg(Color::DarkGray) } else { Style::new() }
    }
}

fn figure(count: u64) -> Line<'static> {
    Line::raw(count.to_string()).alignment(Alignment::Right)
}

fn rate(flow: &Flow) -> Line<'static> {
    Line::raw(format!("{:.0}", flow.rate())).alignment(Alignment::Right)
}

fn colour_of(occurrence: &Occurrence) -> Color {
    match occurrence {
        Occurrence::Retried { .. } => Color::Yellow,
        Occurrence::GivenUp { .. } | Occurrence::BadLine { .. } => Color::Red,
        Occurrence::Redriven { .. } | Occurrence::Handled { .. } => Color::Green,
        Occurrence::Published { .. } | Occurrence::Asked(_) => Color::Cyan,
        Occurrence::Part(_) => Color::Magenta,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventbus::Event;
    use ratatui::{Terminal, backend::TestBackend};

    fn screen(width: u16, height: u16) -> String {
        let mut picture = Picture::new("memory:".to_owned(), Instant::now());
        let event = || Event::builder("demo.order.placed").subject("o-007").json_text("1").build().unwrap();
        picture.note(&Occurrence::Published { event: event(), _room: None });
        picture.note(&Occurrence::GivenUp { service: "billing", event: event(), attempt: 1, error: "stolen".to_owned() });
        let services = [Standing { service: "billing", promised: 8, handled: 6, given_up: 1, retried: 3, lag: 1 }];
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| picture.paint(frame, &services, false)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn types_handlers_and_what_happened_are_on_the_screen() {
        let shown = screen(100, 24);
        for part in ["eventbus demo", "order.placed", "billing", "██████████▒···", "dead letter billing: order.placed o-007", "q ends it"]
        {
            assert!(shown.contains(part), "{part}:\n{shown}");
        }
    }

    #[test]
    fn a_small_terminal_is_no_reason_to_fail() {
        for (width, height) in [(1, 1), (20, 5), (80, 10)] {
            screen(width, height);
        }
    }
}
