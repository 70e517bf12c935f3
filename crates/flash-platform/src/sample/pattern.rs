//! A short text that a regular expression matches.
use regex_syntax::hir::{Class, Hir, HirKind};

/// Characters at most: repetitions of repetitions grow fast.
const MOST: usize = 1024;

/// `None` where the expression is not understood or too long.
pub(super) fn matching(pattern: &str) -> Option<String> {
    let expression = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    write(&expression, &mut text)?;
    Some(text)
}

fn write(expression: &Hir, text: &mut String) -> Option<()> {
    match expression.kind() {
        // Where a text begins and ends is right by itself in the usual place.
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.push_str(std::str::from_utf8(&literal.0).ok()?),
        HirKind::Class(class) => text.push(one_of(class)?),
        HirKind::Repetition(repetition) => {
            for _ in 0..repetition.min {
                let before = text.len();
                write(&repetition.sub, text)?;
                // Nothing, however often.
                if text.len() == before {
                    break;
                }
            }
        }
        HirKind::Capture(capture) => write(&capture.sub, text)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, text))?,
        HirKind::Alternation(choices) => write(choices.first()?, text)?,
    }
    (text.len() <= MOST).then_some(())
}

/// A letter or a digit where there is one.
fn one_of(class: &Class) -> Option<char> {
    let Class::Unicode(class) = class else { return None };
    let contains = |wanted: char| class.iter().any(|range| range.start() <= wanted && wanted <= range.end());
    let usual = ('a'..='z').chain('A'..='Z').chain('1'..='9').chain(['0', '-', '_', '.', ' ']);
    usual
        .into_iter()
        .find(|wanted| contains(*wanted))
        .or_else(|| class.iter().next().map(|range| range.start()))
}
