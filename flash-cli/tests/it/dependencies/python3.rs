//! Stands in for Python in a base image of the tests: it tells what it found beside it.
use std::io::Read as _;

fn main() {
    let script = std::env::args().nth(1).expect("a script");
    let script = std::fs::read_to_string(script).expect("the script is in the image");
    let stopwords = std::fs::read_to_string("data/stopwords.txt").expect("the data is in the image");
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).expect("a text");
    let release = std::fs::read_to_string("/etc/base-release").expect("a file of the base");
    println!(
        r#"{{"words":[{{"word":"{}","times":{}}}],"python":"{}, a script of {} lines"}}"#,
        text.trim(),
        stopwords.lines().count(),
        release.trim(),
        script.lines().count()
    );
}
