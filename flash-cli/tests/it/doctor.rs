//! `flash doctor` as a program: what it prints, and its exit code.
use std::{
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::flash;

/// `flash doctor` by a user who has nothing at home and no toolkit.
fn doctor(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = flash(&["doctor"]);
    command.args(arguments).current_dir(directory).env("HOME", directory);
    // Rust itself is found by what rustup and cargo keep at home.
    let home = std::env::home_dir().unwrap();
    for (name, below) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
        command.env(name, std::env::var_os(name).unwrap_or_else(|| home.join(below).into()));
    }
    for name in [
        "CUDA_HOME",
        "CUDA_PATH",
        "CUDA_ROOT",
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "XDG_RUNTIME_DIR",
        "XDG_CONFIG_HOME",
    ] {
        command.env_remove(name);
    }
    command
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_is_there_and_what_is_missing_for_some_commands() {
    let directory = TempDir::new().unwrap();
    let output = doctor(directory.path(), &[]).output().unwrap();
    let (stdout, stderr) = said(&output);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""), "{stdout}");
    assert!(stdout.contains("✓ cargo ") && stdout.contains("✓ static binary "), "{stdout}");
    assert!(
        stdout.contains("! credentials    none\n") && stdout.contains("→ podman login REGISTRY"),
        "{stdout}"
    );
    assert!(!stdout.contains('\u{1b}'), "no colour where nobody looks: {stdout}");
}

#[test]
fn a_machine_without_cargo_is_told_how_to_get_it() {
    let directory = TempDir::new().unwrap();
    let output = doctor(directory.path(), &["--json"]).env("PATH", directory.path()).output().unwrap();
    let (stdout, stderr) = said(&output);
    assert_eq!(output.status.code(), Some(1), "{stdout}{stderr}");
    assert!(
        stderr.contains("error: flash cannot run or build an app here") && stderr.contains("hint: "),
        "{stderr}"
    );
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["ok"], false);
    let finding = |name: &str| {
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["name"] == name).unwrap().clone()
    };
    for name in ["cargo", "rustc", "C compiler"] {
        assert_eq!(finding(name)["state"], "bad", "{report}");
    }
    assert!(finding("cargo")["fix"].as_str().unwrap().contains("rustup.rs"));
    assert_eq!(finding("containers")["state"], "note", "needed by few commands");
    assert!(finding("CUDA toolkit")["fix"].as_str().unwrap().contains("pip install"));
}

#[test]
fn a_directory_that_is_not_there_and_a_broken_flash_toml_are_wrong_usage() {
    let directory = TempDir::new().unwrap();
    let output = doctor(directory.path(), &["nowhere"]).output().unwrap();
    assert_eq!(
        (output.status.code(), said(&output).1.contains("the directory `nowhere` does not exist")),
        (Some(2), true)
    );
    std::fs::write(directory.path().join("flash.toml"), "[build]\ncuda_hom = \"x\"\n").unwrap();
    let output = doctor(directory.path(), &[]).output().unwrap();
    assert_eq!(
        (output.status.code(), said(&output).1.contains("flash.toml:2: unknown field")),
        (Some(2), true)
    );
}

/// A toolkit whose compiler answers questions and makes empty files.
fn toolkit(root: &Path) {
    for directory in ["bin", "include/crt", "lib64"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    let script = "#!/bin/sh\ncase $1 in\n--version) echo 'release 13.0, V13.0.88' ;;\n--list-gpu-code) echo sm_89 ;;\n\
                  *) for word do [ \"$last\" = -o ] && : > \"$word\"; last=$word; done; : ;;\nesac\n";
    std::fs::write(root.join("bin/nvcc"), script).unwrap();
    std::fs::set_permissions(root.join("bin/nvcc"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let files = [
        "include/cuda_runtime.h",
        "include/cuda_fp16.h",
        "include/crt/host_config.h",
        "lib64/libcublas.so.13",
        "lib64/libcublasLt.so.13",
        "lib64/libcurand.so.10",
        "lib64/libnvrtc.so.13",
        "lib64/libcudart_static.a",
    ];
    for file in files {
        std::fs::write(root.join(file), "").unwrap();
    }
    std::fs::write(root.join("include/cuda.h"), "CUresult CUDAAPI cuInit(unsigned int Flags);\n").unwrap();
}

#[test]
fn the_environment_of_a_gpu_build_can_be_had_for_building_by_hand() {
    let directory = TempDir::new().unwrap();
    let home = directory.path().join("the toolkit");
    toolkit(&home);
    let output = doctor(directory.path(), &["--cuda-env", "8.9"]).env("CUDA_HOME", &home).output().unwrap();
    let (stdout, stderr) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let script = format!(
        "{stdout}\nprintf '%s\\n' \"$CUDA_COMPUTE_CAP\"; nvcc --version; ls \"$CUDA_HOME/lib64/libcuda.a\""
    );
    let shell = Command::new("sh").args(["-c", &script]).output().unwrap();
    let (lines, problems) = said(&shell);
    assert!(
        lines.starts_with("89\nrelease 13.0") && lines.trim_end().ends_with("libcuda.a"),
        "{lines}{problems}"
    );

    let newer =
        doctor(directory.path(), &["--cuda-env", "8.9,12.0"]).env("CUDA_HOME", &home).output().unwrap();
    assert_eq!(newer.status.code(), Some(1));
    assert!(said(&newer).1.contains("cannot compile for compute capability 12.0"), "{}", said(&newer).1);
    let wrong = doctor(directory.path(), &["--cuda-env", "ada"]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).1.contains("`ada` is not a compute capability"), "{}", said(&wrong).1);
}

#[test]
fn a_crate_whose_models_would_be_slow_is_told_what_to_add() {
    let directory = TempDir::new().unwrap();
    let manifest = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
                    [dependencies]\ncandle-core = { path = \"candle-core\" }\n";
    // Of the real one, only the name matters here.
    let candle = "[package]\nname = \"candle-core\"\nversion = \"0.1.0\"\nedition = \"2024\"\n";
    for (path, text) in [
        ("Cargo.toml", manifest),
        ("src/main.rs", "fn main() {}"),
        ("candle-core/Cargo.toml", candle),
        ("candle-core/src/lib.rs", ""),
    ] {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let finding = || {
        let output = doctor(directory.path(), &["--json"]).output().unwrap();
        let (stdout, stderr) = said(&output);
        let report: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{stdout}{stderr}"));
        let findings = report["findings"].as_array().unwrap();
        findings.iter().find(|finding| finding["name"] == "model profile").cloned()
    };
    let slow = finding().unwrap();
    assert_eq!(slow["state"], "note", "{slow}");
    let lines = slow["fix"].as_str().unwrap().strip_prefix("add to it:\n").unwrap();
    std::fs::write(directory.path().join("Cargo.toml"), format!("{manifest}{lines}\n")).unwrap();
    assert_eq!(finding(), None, "with what it said to add");
}
