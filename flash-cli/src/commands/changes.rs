//! How changes are printed: those of a plan, and those at a target.
use flash_plan::{Line, Mark, Plan};
use flash_target::{EndpointChange, TargetKind};

use crate::{exit::Failure, output::Output};

/// Prints every change, then the cost.
pub(super) fn plan(plan: &Plan, output: &Output) {
    for Line { mark, text } in plan.lines() {
        output.change(mark, &text);
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
            (None, Some(new)) => (Mark::Created, new.clone()),
            (Some(_), None) => (Mark::Removed, "removed".to_owned()),
            (Some(old), Some(new)) => (Mark::Changed, format!("{old} → {new}")),
            (None, None) => (Mark::Changed, String::new()),
        };
        let name = format!("{worker} {field}");
        output.change(mark, &format!("{name:<width$}  {value}"));
    }
}
