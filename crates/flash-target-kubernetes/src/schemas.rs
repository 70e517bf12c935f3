//! For tests: checks objects against the schemas of Kubernetes, of the oldest and the newest version that the package
//! `kubernetes-validate` knows: 1.25 and 1.37. Tests on a cluster apply them to 1.20.
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use flash_test_support::skipped::{Needs, skip};
use serde_json::Value;

/// Reads objects, one in a line, and fails with what is wrong with the first one that fits no schema.
const CHECK: &str = r#"
import json, sys
import kubernetes_validate as schemas
versions = [schemas.utils.all_versions()[0], schemas.latest_version()]
count = 0
for line in sys.stdin:
    for version in versions:
        schemas.validate(json.loads(line), version, strict=True)
        count += 1
print(count)
"#;

/// Panics when one of them does not fit.
#[track_caller]
pub(crate) fn check(objects: &[Value]) {
    if let Some(Err(wrong)) = fit(objects) {
        panic!("{wrong}");
    }
}

/// What is wrong with them; `None` without the package. Unknown fields are wrong.
#[track_caller]
fn fit(objects: &[Value]) -> Option<Result<(), String>> {
    let Some(python) = std::env::var_os("FLASH_TEST_PYTHON") else {
        skip(Needs::Python, "FLASH_TEST_PYTHON names no Python with the package `kubernetes-validate`");
        return None;
    };
    let mut child = Command::new(python)
        .args(["-c", CHECK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for object in objects {
        // It may have found enough.
        let _ = writeln!(stdin, "{object}");
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let checked = String::from_utf8(output.stdout).unwrap();
    assert_eq!(checked.trim(), (objects.len() * 2).to_string());
    Some(Ok(()))
}

#[test]
fn a_field_that_there_is_not_is_found() {
    let pod = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "a" },
        "spec": { "restartPolicies": "Never", "containers": [{ "name": "a" }] },
    });
    let Some(found) = fit(&[pod]) else { return };
    let wrong = found.unwrap_err();
    assert!(wrong.contains("restartPolicies"), "{wrong}");
}
