//! Tables as text: columns as wide as what is in them.

use crate::{
    exit::Outcome,
    output::{Output, Paint},
};

/// A table that is printed once it is complete.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

struct Column {
    title: &'static str,
    to_the_right: bool,
}

impl Table {
    /// A table with these columns. Those that begin with `>` are figures and stand to the right.
    pub(crate) fn new(titles: &[&'static str]) -> Self {
        let column = |title: &&'static str| match title.strip_prefix('>') {
            Some(title) => Column { title, to_the_right: true },
            None => Column { title, to_the_right: false },
        };
        Self { columns: titles.iter().map(column).collect(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn print(&self, out: &mut Output) -> Outcome<()> {
        for line in self.lines(out.paint()) {
            out.line(line)?;
        }
        Ok(())
    }

    /// The lines, titles first.
    pub(crate) fn lines(&self, paint: Paint) -> Vec<String> {
        let widths: Vec<usize> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).fold(width(column.title), usize::max)
            })
            .collect();
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title).collect();
        let mut lines = vec![paint.dim(self.join(&titles, &widths)).to_string()];
        lines.extend(self.rows.iter().map(|row| self.join(&row.iter().map(String::as_str).collect::<Vec<_>>(), &widths)));
        lines
    }

    fn join(&self, cells: &[&str], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, column), target) in cells.iter().zip(&self.columns).zip(widths) {
            let padding = " ".repeat(target.saturating_sub(width(cell)));
            let (before, after) = if column.to_the_right { (padding.as_str(), "") } else { ("", padding.as_str()) };
            line.push_str(&format!("{before}{cell}{after}  "));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_to_the_right_and_words_to_the_left() {
        let mut table = Table::new(&["name", ">lag"]);
        table.row(["billing".to_owned(), "7".to_owned()]);
        table.row(["é".to_owned(), "1200".to_owned()]);
        assert_eq!(table.lines(Paint::NONE), ["name      lag", "billing     7", "é        1200"]);
    }
}
