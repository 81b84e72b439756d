//! Tables of figures, as plain text and as Markdown; medians and spreads over rounds.

use std::fmt::Write as _;

/// A table: the first column names the row, the others hold figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// How a [`Table`] is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Columns aligned with spaces.
    #[default]
    Text,
    /// A Markdown table.
    Markdown,
}

impl Table {
    /// An empty table; `columns` includes the first one.
    pub fn new<S: Into<String>>(title: &str, columns: impl IntoIterator<Item = S>) -> Table {
        let columns = columns.into_iter().map(Into::into).collect();
        Table {
            title: title.to_owned(),
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells are empty, and those beyond the columns are dropped.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    /// The whole table with its title, ending in a line end.
    pub fn render(&self, format: Format) -> String {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&self.columns]);
                cells
                    .filter_map(|row| row.get(column))
                    .map(|cell| width(cell))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        let (before, between, after) = match format {
            Format::Text => ("", "  ", ""),
            Format::Markdown => ("| ", " | ", " |"),
        };
        let line = |out: &mut String, cells: &[String]| {
            out.push_str(before);
            for (column, (cell, width)) in cells.iter().zip(&widths).enumerate() {
                out.push_str(if column == 0 { "" } else { between });
                pad(out, cell, *width, column > 0);
            }
            if after.is_empty() {
                out.truncate(out.trim_end_matches(' ').len());
            }
            let _ = writeln!(out, "{after}");
        };
        match format {
            Format::Text => {
                let _ = writeln!(out, "{}", self.title);
            }
            Format::Markdown => {
                let _ = writeln!(out, "**{}**\n", self.title);
            }
        }
        line(&mut out, &self.columns);
        if format == Format::Markdown {
            for (column, width) in widths.iter().enumerate() {
                let end = if column == 0 { "-" } else { ":" };
                let _ = write!(out, "|{}{end}", "-".repeat(width + 1));
            }
            out.push_str("|\n");
        }
        for row in &self.rows {
            line(&mut out, row);
        }
        out
    }
}

/// Characters stand for columns: the texts here have no wide ones.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

fn pad(out: &mut String, cell: &str, to: usize, right: bool) {
    let space = " ".repeat(to.saturating_sub(width(cell)));
    let (before, after) = if right {
        (space.as_str(), "")
    } else {
        ("", space.as_str())
    };
    let _ = write!(out, "{before}{cell}{after}");
}

/// A number with three significant digits, and never fewer than its whole part.
pub fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

/// The middle value, or the mean of the two; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    match sorted.len() % 2 {
        1 => Some(upper),
        _ => sorted
            .get(sorted.len() / 2 - 1)
            .map(|lower| (lower + upper) / 2.0),
    }
}

/// How far the smallest and the largest value lie apart, as a share of the median.
pub fn spread(values: &[f64]) -> Option<f64> {
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    let range = high - lowest(values)?;
    median(values)
        .filter(|middle| *middle != 0.0)
        .map(|middle| range / middle)
}

/// The smallest value: other work on the machine only ever adds to a cost.
pub fn lowest(values: &[f64]) -> Option<f64> {
    values.iter().copied().min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let mut table = Table::new("CPU µs", ["what", "a", "b"]);
        table.row(["small", "11.5", "9"]);
        table.row(["→"]);
        let text = "CPU µs\nwhat      a  b\nsmall  11.5  9\n→\n";
        assert_eq!(table.render(Format::Text), text);
        let markdown = "**CPU µs**\n\n| what  |    a | b |\n|-------|-----:|--:|\n\
                        | small | 11.5 | 9 |\n| →     |      |   |\n";
        assert_eq!(table.render(Format::Markdown), markdown);
    }

    #[test]
    fn figures_and_medians() {
        assert_eq!([0.123, 11.52, 1234.5].map(figure), ["0.12", "11.5", "1234"]);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
        assert_eq!(spread(&[9.0, 10.0, 12.0]), Some(0.3));
        assert_eq!(spread(&[]), None);
    }
}
