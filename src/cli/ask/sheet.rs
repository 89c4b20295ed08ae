//! What an answer looks like: lines, and tables whose columns stand under each other. Drawn for a
//! terminal, they keep within its width; drawn for a file or a pipe, nothing is cut.

use crate::cli::ask::text::{Text, head};

/// Where it is drawn on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// `None` where nothing is cut.
    pub(super) columns: Option<usize>,
    pub(super) in_colour: bool,
}

#[derive(Debug, Default)]
pub(super) struct Sheet {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// Never cut: a sentence that lacks its end says something else.
    Line(Text),
    Table(Table),
}

#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Text>>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    head: &'static str,
    is_right: bool,
    /// Gives way where the terminal is too narrow for all.
    gives_way: bool,
}

/// Between two columns.
const SPACE: &str = "  ";
/// A column that gives way keeps so much: enough to tell a host.
const COLUMN_COLUMNS_MIN: usize = 12;

pub(super) fn left(head: &'static str) -> Column {
    Column { head, is_right: false, gives_way: false }
}

pub(super) fn right(head: &'static str) -> Column {
    Column { head, is_right: true, gives_way: false }
}

/// For texts of any length.
pub(super) fn long(head: &'static str) -> Column {
    Column { head, is_right: false, gives_way: true }
}

impl Sheet {
    pub(super) fn line(&mut self, text: impl Into<Text>) {
        self.parts.push(Part::Line(text.into()));
    }

    pub(super) fn gap(&mut self) {
        self.line("");
    }

    /// A table without rows is none, and `otherwise` says so.
    pub(super) fn table(&mut self, table: Table, otherwise: &str) {
        if table.rows.is_empty() {
            self.line(otherwise);
        } else {
            self.parts.push(Part::Table(table));
        }
    }

    pub(super) fn draw(&self, look: Look) -> String {
        let mut out = String::new();
        let is_gap = |part: &&Part| matches!(part, Part::Line(text) if text.width() == 0);
        // A gap stands between two things, and not behind the last.
        let behind = self.parts.iter().rev().take_while(is_gap).count();
        for part in &self.parts[..self.parts.len() - behind] {
            match part {
                Part::Line(text) => {
                    text.draw(look.in_colour, &mut out);
                    out.push('\n');
                }
                Part::Table(table) => table.draw(look, &mut out),
            }
        }
        out
    }
}

impl Table {
    pub(super) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: impl Into<Vec<Text>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }

    fn draw(&self, look: Look, out: &mut String) {
        let widths = self.widths(look.columns);
        // A table without a heading lists facts by name.
        if self.columns.iter().any(|column| !column.head.is_empty()) {
            let heads: Vec<Text> = self.columns.iter().map(|column| head(column.head)).collect();
            self.draw_row(&heads, &widths, look, out);
        }
        for row in &self.rows {
            self.draw_row(row, &widths, look, out);
        }
    }

    fn draw_row(&self, cells: &[Text], widths: &[usize], look: Look, out: &mut String) {
        // The blanks behind the last word of a row would only wrap it.
        let last = cells.iter().rposition(|cell| cell.width() > 0).unwrap_or(0);
        for (n, cell) in cells.iter().enumerate().take(last + 1) {
            let cell = cell.cut(widths[n]);
            let pad = " ".repeat(widths[n] - cell.width());
            if n > 0 {
                out.push_str(SPACE);
            }
            if self.columns[n].is_right {
                out.push_str(&pad);
            }
            cell.draw(look.in_colour, out);
            if !self.columns[n].is_right && n < last {
                out.push_str(&pad);
            }
        }
        out.push('\n');
    }

    fn widths(&self, columns: Option<usize>) -> Vec<usize> {
        let widest = |n: usize, column: &Column| {
            let cells = self.rows.iter().map(|row| row[n].width());
            cells.chain([column.head.len()]).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(n, column)| widest(n, column)).collect();
        let spaces = SPACE.len() * widths.len().saturating_sub(1);
        let Some(room) = columns.map(|columns| columns.saturating_sub(spaces)) else {
            return widths;
        };
        let mut excess = widths.iter().sum::<usize>().saturating_sub(room);
        // The widest gives first, so that short texts stay whole as long as there are longer ones.
        while excess > 0 {
            let givers = (0..widths.len()).filter(|&n| self.columns[n].gives_way);
            let Some(giver) = givers.max_by_key(|&n| widths[n]) else { break };
            if widths[giver] <= COLUMN_COLUMNS_MIN {
                break;
            }
            widths[giver] -= 1;
            excess -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ask::text::bad;

    #[track_caller]
    fn check(columns: Option<usize>, expected: &str) {
        let mut table = Table::new([left("NAME"), right("SLOTS"), long("URL"), long("ERROR")]);
        table.row(["a".into(), "1365".into(), "http://10.0.0.1:9100/metrics".into(), "".into()]);
        table.row([
            "東京".into(),
            "7".into(),
            "http://h:1/".into(),
            bad("connection refused by the host"),
        ]);
        let mut sheet = Sheet::default();
        sheet.table(table, "none");
        assert_eq!(sheet.draw(Look { columns, in_colour: false }), expected);
    }

    #[test]
    fn columns_stand_under_each_other() {
        check(
            None,
            "NAME  SLOTS  URL                           ERROR\n\
             a      1365  http://10.0.0.1:9100/metrics\n\
             東京      7  http://h:1/                   connection refused by the host\n",
        );
    }

    #[test]
    fn long_texts_give_way_on_a_narrow_terminal() {
        check(
            Some(60),
            "NAME  SLOTS  URL                      ERROR\n\
             a      1365  http://10.0.0.1:9100/m…\n\
             東京      7  http://h:1/              connection refused by…\n",
        );
        // Too narrow for anything: what tells the rows apart stays.
        check(
            Some(10),
            "NAME  SLOTS  URL           ERROR\n\
             a      1365  http://10.0…\n\
             東京      7  http://h:1/   connection …\n",
        );
    }

    #[test]
    fn a_table_without_rows_says_so() {
        let mut sheet = Sheet::default();
        sheet.table(Table::new([left("NAME")]), "no members");
        assert_eq!(sheet.draw(Look { columns: None, in_colour: true }), "no members\n");
    }
}
