//! Rows in aligned columns.
//!
//! No crate for tables: they bring borders, wrapping and the width of the terminal, and these lines are for `grep` too.

/// The lines of a table. Numbers are right-aligned.
pub(super) fn table_lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let is_number = |text: &str| text.split(' ').next().is_some_and(|word| word.parse::<f64>().is_ok());
    let columns = (0..head.len()).map(|column| {
        let cells = || rows.iter().map(|row| cell(row, column));
        let widest = cells().map(|text| text.chars().count()).max().unwrap_or(0);
        let numbers = !rows.is_empty() && cells().all(|text| is_number(&text));
        (widest.max(head[column].chars().count()), numbers)
    });
    let columns: Vec<(usize, bool)> = columns.collect();
    let line = |row: &[String]| {
        let cells = columns.iter().enumerate().map(|(column, (width, numbers))| {
            let text = cell(row, column);
            if *numbers { format!("{text:>width$}") } else { format!("{text:<width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head: Vec<String> = head.iter().map(|text| (*text).to_owned()).collect();
    std::iter::once(&head).chain(rows).map(|row| line(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_at_their_right() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let lines = table_lines(
            &["worker", "size", "functions"],
            &[row(["a", "9.5 MB", "one"]), row(["longer-name", "12.5 MB", ""])],
        );
        assert_eq!(
            lines,
            ["worker          size  functions", "a             9.5 MB  one", "longer-name  12.5 MB",]
        );
    }
}
