use flash_target::EnvironmentId;

use crate::directory::DataDirectory;
use tempfile::TempDir;

use super::*;

struct Bench {
    data: TempDir,
    directory: EnvironmentDirectory,
    artifact: ArtifactSpec,
    sources: BTreeMap<String, PathBuf>,
}

fn sha256(text: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(text);
    hex(hash)
}

fn bench() -> Bench {
    let data = TempDir::new().unwrap();
    let directory = DataDirectory::open(&data.path().join("data"))
        .unwrap()
        .environment(&EnvironmentId::new("app", "production").unwrap());
    directory.make().unwrap();
    let mut sources = BTreeMap::new();
    for text in ["program", "weights"] {
        let path = data.path().join(text);
        std::fs::write(&path, text).unwrap();
        sources.insert(sha256(text), path);
    }
    let artifact = ArtifactSpec::Binaries {
        digest: sha256("all"),
        binaries: [("one", "program"), ("two", "program")]
            .map(|(worker, text)| (worker.to_owned(), sha256(text)))
            .into(),
        files: [("models/w.bin".to_owned(), FileSpec { sha256: sha256("weights"), executable: false })]
            .into(),
    };
    Bench { data, directory, artifact, sources }
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn what_was_staged_is_whole_private_and_told_of() {
    let Bench { directory, artifact, sources, data: _data } = bench();
    let mut last = (0, 0);
    stage(&directory, &artifact, &sources, |done, total| last = (done, total)).unwrap();
    assert_eq!(last, (14, 14));
    check(&directory, &artifact).unwrap();
    let programs = programs(&directory, &artifact);
    assert_eq!(programs["one"], programs["two"]);
    assert_eq!(std::fs::metadata(&programs["one"]).unwrap().permissions().mode() & 0o777, 0o700);
    // The second time nothing is copied.
    stage(&directory, &artifact, &BTreeMap::new(), |_, _| ()).unwrap();
    assert_eq!(names(&directory.artifacts()), [sha256("all")]);
}

#[test]
fn a_file_with_another_content_is_refused_and_nothing_is_left() {
    let Bench { directory, artifact, sources, data: _data } = bench();
    std::fs::write(&sources[&sha256("weights")], "changed").unwrap();
    let error = stage(&directory, &artifact, &sources, |_, _| ()).unwrap_err();
    assert!(error.message.contains("has changed since the build"), "{error}");
    assert_eq!(names(&directory.artifacts()), Vec::<String>::new());
}

#[test]
fn a_missing_file_is_named_and_nothing_is_left() {
    let Bench { directory, artifact, mut sources, data: _data } = bench();
    let gone = sources[&sha256("weights")].clone();
    std::fs::remove_file(&gone).unwrap();
    let error = stage(&directory, &artifact, &sources, |_, _| ()).unwrap_err();
    assert!(error.message.contains(&gone.display().to_string()), "{error}");
    sources.remove(&sha256("program"));
    let error = stage(&directory, &artifact, &sources, |_, _| ()).unwrap_err();
    assert_eq!(error.problem, Problem::Refused);
    assert_eq!(names(&directory.artifacts()), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_said_with_what_to_do() {
    let error = cannot_write(Path::new("/data"), io::ErrorKind::StorageFull.into());
    assert!(error.text().starts_with("cannot write /data: "), "{error:?}");
    assert!(error.hint.unwrap().starts_with("free space on that disk"));
}

#[test]
fn a_damaged_artifact_is_found_and_replaced_by_the_next_send() {
    let Bench { directory, artifact, sources, data: _data } = bench();
    stage(&directory, &artifact, &sources, |_, _| ()).unwrap();
    let program = programs(&directory, &artifact)["one"].clone();
    std::fs::write(&program, "damaged").unwrap();
    let error = check(&directory, &artifact).unwrap_err();
    assert!(error.message.contains("is damaged"), "{error}");
    stage(&directory, &artifact, &sources, |_, _| ()).unwrap();
    check(&directory, &artifact).unwrap();
}

#[test]
fn paths_that_lead_out_of_an_artifact_are_refused() {
    let Bench { directory, sources, data: _data, .. } = bench();
    for path in ["../out", "/etc/passwd", "a/../../b", ""] {
        let file = FileSpec { sha256: sha256("weights"), executable: false };
        let artifact = ArtifactSpec::Binaries {
            digest: sha256("all"),
            binaries: BTreeMap::new(),
            files: [(path.to_owned(), file)].into(),
        };
        assert_eq!(stage(&directory, &artifact, &sources, |_, _| ()).unwrap_err().problem, Problem::Refused);
    }
    let artifact =
        ArtifactSpec::Binaries { digest: "../up".into(), binaries: BTreeMap::new(), files: BTreeMap::new() };
    assert_eq!(stage(&directory, &artifact, &sources, |_, _| ()).unwrap_err().problem, Problem::Refused);
}

#[test]
fn workers_write_to_copies_and_what_no_release_needs_is_deleted() {
    let Bench { directory, artifact, sources, data: _data } = bench();
    stage(&directory, &artifact, &sources, |_, _| ()).unwrap();
    let work = work_directory(&directory, 3, &artifact).unwrap();
    std::fs::write(work.join("models/w.bin"), "overwritten").unwrap();
    check(&directory, &artifact).unwrap();
    assert_eq!(work_directory(&directory, 3, &artifact).unwrap(), work);
    prune(&directory, &[sha256("all")].into(), &[3].into());
    assert!(work.is_dir() && directory.artifact(&sha256("all")).is_dir());
    prune(&directory, &BTreeSet::new(), &BTreeSet::new());
    assert_eq!(names(&directory.artifacts()).len() + names(&directory.work()).len(), 0);
}
