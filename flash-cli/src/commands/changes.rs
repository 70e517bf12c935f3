//! How changes are printed: those of a plan, those at a target, and those between two versions of an app.
use flash_target::{EndpointChange, TargetKind};

use crate::{
    deploy::{Action, Change, FieldChange, Plan},
    exit::Failure,
    output::{ChangeMark, Output},
};

/// Prints every change, then the cost. Digests are shortened, but still distinct.
pub(super) fn plan(plan: &Plan, output: &Output) {
    for change in &plan.changes {
        for (mark, line) in lines(change) {
            output.change(mark, &line);
        }
    }
    output.line("");
    let after = plan.cost_after.text();
    match &plan.cost_before {
        Some(before) if *before != plan.cost_after => {
            output.line(&format!("  per hour  {}", before.text()));
            output.line(&format!("       then {after}"));
        }
        _ => output.line(&format!("  per hour  {after}")),
    }
    let breaking = plan.breaking();
    if !breaking.is_empty() {
        output.line("");
        for reason in breaking {
            output.line(&format!("  BREAKING  {reason}"));
        }
    }
}

/// Whether a plan may be applied although it breaks callers.
///
/// # Errors
/// When callers would break and the user has not allowed it.
pub(super) fn allowed_to_break(plan: &Plan, allowed: bool) -> Result<(), Failure> {
    match plan.breaking() {
        breaking if breaking.is_empty() || allowed => Ok(()),
        breaking => {
            let reasons = breaking.join("; ");
            Err(Failure::unusable(format!("this would break callers: {reasons}; nothing was changed"))
                .hint("if this is intended: --allow-breaking"))
        }
    }
}

/// Prints what changes at the target itself, endpoint by endpoint.
pub(super) fn at_target(changes: &[EndpointChange], target: TargetKind, output: &Output) {
    if changes.is_empty() {
        return;
    }
    output.line("");
    output.line(&format!("  at {target}"));
    let width = changes.iter().map(|change| change.worker.chars().count() + change.field.chars().count());
    let width = width.max().unwrap_or(0) + 1;
    for EndpointChange { worker, field, old, new } in changes {
        let (mark, value) = match (old, new) {
            (None, Some(new)) => (ChangeMark::Created, new.clone()),
            (Some(_), None) => (ChangeMark::Removed, "removed".to_owned()),
            (Some(old), Some(new)) => (ChangeMark::Changed, format!("{old} → {new}")),
            (None, None) => (ChangeMark::Changed, String::new()),
        };
        let name = format!("{worker} {field}");
        output.change(mark, &format!("{name:<width$}  {value}"));
    }
}

/// The lines of a change, each with its mark.
pub(super) fn lines(change: &Change) -> Vec<(ChangeMark, String)> {
    let head = format!("{:<12} {}", change.subject.label(), change.name);
    let mark = match change.action {
        Action::Create => ChangeMark::Created,
        Action::Change => ChangeMark::Changed,
        Action::Destroy => ChangeMark::Removed,
    };
    let breaking =
        |why: &Option<String>| why.as_ref().map_or(String::new(), |why| format!("  BREAKING: {why}"));
    if let [only] = change.fields.as_slice()
        && only.field.is_empty()
    {
        let name = if change.name == change.subject.label() { "" } else { &change.name };
        let head = format!("{:<12} {name}", change.subject.label());
        return vec![(mark, format!("{} {}", head.trim_end(), values(only)))];
    }
    let mut lines = vec![(mark, format!("{head}{}", breaking(&change.breaking)))];
    let width = change.fields.iter().map(|field| field.field.chars().count()).max().unwrap_or(0);
    lines.extend(change.fields.iter().map(|field| {
        (
            ChangeMark::Part,
            format!("  {:<width$}  {}{}", field.field, values(field), breaking(&field.breaking)),
        )
    }));
    lines
}

fn values(field: &FieldChange) -> String {
    let short = |text: &String| match text.strip_prefix("sha256:") {
        Some(digest) => digest.get(..12).unwrap_or(digest).to_owned(),
        None => text.clone(),
    };
    match (&field.before, &field.after) {
        (Some(before), Some(after)) => format!("{} → {}", short(before), short(after)),
        (None, Some(after)) => short(after),
        (Some(before), None) => format!("{} → removed", short(before)),
        (None, None) => String::new(),
    }
}
