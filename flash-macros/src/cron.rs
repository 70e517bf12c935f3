//! Checks cron expressions, so that a wrong one is a compile error.
//!
//! The platform reads them with the crate `croner`, which would bring ten more crates into the build of every app. All
//! that is accepted here, croner accepts; its rarer forms are left out.

/// A field of an expression.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    /// Names of values, from `min` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", min: 0, max: 59, names: &[] },
    Field { name: "hour", min: 0, max: 23, names: &[] },
    Field { name: "day of the month", min: 1, max: 31, names: &[] },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
    },
    Field {
        name: "day of the week",
        min: 0,
        max: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
    },
];

const NICKNAMES: [&str; 6] = ["@hourly", "@daily", "@weekly", "@monthly", "@yearly", "@annually"];

/// The longest month of each name: 29 February comes.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Why an expression is not one, or names no date.
pub(crate) fn check(expression: &str) -> Result<(), String> {
    if expression.starts_with('@') {
        return match NICKNAMES.contains(&expression) {
            true => Ok(()),
            false => Err(format!("expected one of `{}`", NICKNAMES.join("`, `"))),
        };
    }
    let written: Vec<&str> = expression.split_ascii_whitespace().collect();
    if written.len() != FIELDS.len() {
        return Err(format!(
            "a schedule has five fields, not {}: minute, hour, day of the month, month, day of the week, such \
             as `0 3 * * *` for every day at 03:00",
            written.len()
        ));
    }
    let mut values = Vec::with_capacity(FIELDS.len());
    for (field, text) in FIELDS.iter().zip(&written) {
        values.push(field.values(text)?);
    }
    // With a day of the week, either of the two is enough.
    let first_day = values[2].iter().min().filter(|_| written[2] != "L" && written[4] == "*");
    let exists = |day: &u32| values[3].iter().any(|month| *day <= DAYS[*month as usize - 1]);
    match first_day {
        Some(day) if !exists(day) => Err(format!("there is never a day {day} in month `{}`", written[3])),
        _ => Ok(()),
    }
}

impl Field {
    /// What a field stands for; some forms of days count as none.
    fn values(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut values = Vec::new();
        for item in text.split(',') {
            match item.split_once('#') {
                _ if item == "L" && self.max == 31 => {}
                Some((day, nth)) if self.max == 7 => {
                    self.value(day)?;
                    if !matches!(nth, "1" | "2" | "3" | "4" | "5") {
                        return Err(format!("`{item}`: expected 1 to 5 after `#`, such as `MON#1`"));
                    }
                }
                _ => self.item(item, &mut values)?,
            }
        }
        Ok(values)
    }

    fn item(&self, item: &str, values: &mut Vec<u32>) -> Result<(), String> {
        let (range, step) = match item.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (item, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (self.min, self.max),
            Some((first, last)) => (self.value(first)?, self.value(last)?),
            None if step.is_some() => {
                return Err(format!("`{item}`: a step needs a range, such as `*/10` or `0-30/10`"));
            }
            None => {
                let value = self.value(range)?;
                (value, value)
            }
        };
        if first > last {
            return Err(format!("`{item}`: the first {} is after the last", self.name));
        }
        let step = match step {
            None => 1,
            Some(text) => number(text)
                .filter(|step| (1..=self.max).contains(step))
                .ok_or_else(|| format!("`{item}`: the step must be 1 to {}", self.max))?,
        };
        values.extend((first..=last).step_by(step as usize));
        Ok(())
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().zip(self.min..).find(|(name, _)| name.eq_ignore_ascii_case(text));
        let value = named.map(|(_, value)| value).or_else(|| number(text));
        value.filter(|value| (self.min..=self.max).contains(value)).ok_or_else(|| {
            let names = match self.names {
                [first, .., last] => format!(" or `{first}` to `{last}`"),
                _ => String::new(),
            };
            format!("`{text}` is not a {}: {} to {}{names}", self.name, self.min, self.max)
        })
    }
}

/// Digits alone: `+5` is no number here.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_is_read_by_the_platform() {
        let parser = croner::parser::CronParser::builder()
            .seconds(croner::parser::Seconds::Disallowed)
            .year(croner::parser::Year::Disallowed)
            .build();
        let items = [
            ["*", "0", "59", "0-30/10", "*/15", "1,2,3-5", "007"],
            ["*", "0", "23", "9-17", "*/2", "1-5/2,7", "0"],
            ["*", "1", "31", "L", "1,15", "1-31/7", "29"],
            ["*", "1", "12", "jan", "MAR-Sep/2", "feb,4", "*/3"],
            ["*", "0", "7", "MON-FRI", "sun", "FRI#1", "1,3#5"],
        ];
        let read = |expression: &str| {
            assert_eq!(check(expression), Ok(()), "{expression}");
            if let Err(error) = parser.parse(expression) {
                panic!("{expression}: {error}");
            }
        };
        NICKNAMES.iter().for_each(|nickname| read(nickname));
        for place in 0..FIELDS.len() {
            for item in items[place] {
                let mut fields = ["0", "3", "*", "*", "*"];
                fields[place] = item;
                read(&fields.join(" "));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (wrong, expected) in [
            ("", "five fields, not 0"),
            ("0 0 3 * * *", "five fields, not 6"),
            ("61 * * * *", "`61` is not a minute: 0 to 59"),
            ("0 3 0 * *", "`0` is not a day of the month"),
            ("0 3 * JUN-MAR *", "the first month is after the last"),
            ("0 3 * FEBR *", "`FEBR` is not a month: 1 to 12 or `JAN` to `DEC`"),
            ("5/10 * * * *", "a step needs a range"),
            ("*/0 * * * *", "the step must be 1 to 59"),
            ("+5 * * * *", "`+5` is not a minute"),
            ("0 3 * * MON#6", "expected 1 to 5"),
            ("0 3 30 2 *", "there is never a day 30 in month `2`"),
            ("0 3 31 4,6 *", "there is never a day 31 in month `4,6`"),
            ("@midnight", "expected one of `@hourly`"),
            ("0 3 L L *", "`L` is not a month"),
            ("1, * * * *", "`` is not a minute"),
        ] {
            let message = check(wrong).expect_err(wrong);
            assert!(message.contains(expected), "{wrong}: {message}");
        }
    }
}
