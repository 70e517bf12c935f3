//! Just enough CSV for one file: quoted fields, doubled quotes, line breaks within quotes.

/// The records of a text, each a list of fields.
pub(crate) fn records(text: &str) -> Vec<Vec<String>> {
    let mut records = Vec::new();
    let mut record = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => record.push(std::mem::take(&mut field)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                record.push(std::mem::take(&mut field));
                records.push(std::mem::take(&mut record));
            }
            other => field.push(other),
        }
    }
    if !field.is_empty() || !record.is_empty() {
        record.push(field);
        records.push(record);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::records;

    #[test]
    fn quotes_protect_commas_quotes_and_line_breaks() {
        let read = records("a,\"b, \"\"c\"\"\nd\",e\r\nf,,\n");
        assert_eq!(read, [vec!["a", "b, \"c\"\nd", "e"], vec!["f", "", ""]]);
    }
}
