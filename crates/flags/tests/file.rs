//! A file that is followed while it changes, on a real file system.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bartizan_core::Engine;
use bartizan_flags::{EvaluationContext, FileSource, Flag, Flags};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout};

static VALUE: Flag<i64> = Flag::new("value", -1);

/// So long that only word of a change can be what is seen.
const HOUR: Duration = Duration::from_secs(3600);
const LONG: Duration = Duration::from_secs(20);

fn document(value: i64) -> String {
    format!(
        r#"{{"flags":{{"value":{{"state":"ENABLED","variants":{{"v":{value}}},"defaultVariant":"v"}}}}}}"#
    )
}

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("bartizan-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("flags.json")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Followed {
    flags: Flags,
    told: UnboundedReceiver<i64>,
    /// How long each change took to be seen.
    seen: Vec<Duration>,
    source: FileSource,
}

impl Followed {
    async fn new(file: &Path) -> Self {
        Self::start(FileSource::load(file).unwrap()).await
    }

    /// Follows a file over which the flag is 1, whoever says so.
    async fn start(source: FileSource) -> Self {
        let flags = source.flags();
        let (tell, told) = unbounded_channel();
        flags.bind(&VALUE, move |value| {
            let _ = tell.send(*value);
            Ok(())
        });
        tokio::spawn(source.clone().watch(HOUR));
        let mut followed = Self { flags, told, seen: Vec::new(), source };
        followed.expect(1, || {}).await;
        followed.seen.clear();
        followed
    }

    /// Makes a change, and waits until it is seen.
    async fn expect(&mut self, value: i64, change: impl FnOnce()) {
        let start = Instant::now();
        change();
        assert_eq!(timeout(LONG, self.told.recv()).await.expect("it is seen"), Some(value));
        self.seen.push(start.elapsed());
        assert_eq!(VALUE.get(&self.flags, &EvaluationContext::new()), value);
    }

    /// Waits until so many documents were looked at and refused.
    async fn until_refused(&self, count: f64) {
        let refused =
            || self.flags.snapshot().value("bartizan_flags_reloads_total", "refused").unwrap();
        let looked = async {
            while refused() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, looked).await.expect("it is looked at");
    }

    /// Tells of the slowest, of which it is enough that it came: a machine that is busy with other
    /// things may take its time once. The quickest has to be in time.
    fn bar(&self, case: &str) {
        let millis = |seen: Option<&Duration>| seen.unwrap().as_secs_f64() * 1000.0;
        let (slowest, quickest) = (millis(self.seen.iter().max()), millis(self.seen.iter().min()));
        let verdict = if slowest <= 100.0 { "ok" } else { "short" };
        println!("bar: {case} {slowest:.1} 100 {verdict}");
        assert!(quickest <= 100.0, "{case}: {:?}", self.seen);
    }
}

#[tokio::test]
async fn edits_and_replacements_are_seen_and_broken_files_are_not() {
    let folder = Folder::new("edits");
    let file = folder.file();
    fs::write(&file, document(1)).unwrap();
    let mut followed = Followed::new(&file).await;
    for value in [2, 4, 6, 8] {
        followed.expect(value, || fs::write(&file, document(value)).unwrap()).await;
        let beside = folder.0.join(".flags.json.swp");
        let replace = || {
            fs::write(&beside, document(value + 1)).unwrap();
            fs::rename(&beside, &file).unwrap();
        };
        followed.expect(value + 1, replace).await;
    }
    followed.bar("file_change_seen_ms");

    // Half a document, none, and one that is gone: the last good one stays, and what comes next is
    // the next that is seen.
    let broken = |text: &str| fs::write(&file, text).unwrap();
    for (text, refused) in [(&document(10)[..20], 1.0), ("", 2.0)] {
        broken(text);
        followed.until_refused(refused).await;
        assert_eq!(VALUE.get(&followed.flags, &EvaluationContext::new()), 9);
    }
    fs::remove_file(&file).unwrap();
    assert!(followed.source.reload().is_err(), "whoever looks finds nothing");
    assert_eq!(VALUE.get(&followed.flags, &EvaluationContext::new()), 9);
    followed.expect(11, || fs::write(&file, document(11)).unwrap()).await;
}

/// While it is there, an emergency file wins; it need not be there at the start, or stay.
#[tokio::test]
async fn an_emergency_file_is_seen_to_come_and_to_go() {
    let folder = Folder::new("emergency");
    let flags = Flags::from_json(&document(1)).unwrap();
    let source = FileSource::optional(folder.file(), flags.feed(9)).unwrap();
    let mut followed = Followed::start(source).await;
    for value in 2..7 {
        followed.expect(value, || fs::write(folder.file(), document(value)).unwrap()).await;
        followed.expect(1, || fs::remove_file(folder.file()).unwrap()).await;
    }
    followed.bar("emergency_file_seen_ms");
}

/// As Kubernetes lays out a ConfigMap: the file is a link through a link, and that is swapped.
#[tokio::test]
async fn a_config_map_that_is_swapped_is_seen() {
    let folder = Folder::new("configmap");
    let version = |value: i64| {
        let name = format!("..{value}");
        fs::create_dir(folder.0.join(&name)).unwrap();
        fs::write(folder.0.join(&name).join("flags.json"), document(value)).unwrap();
        name
    };
    symlink(version(1), folder.0.join("..data")).unwrap();
    symlink("..data/flags.json", folder.file()).unwrap();
    let mut followed = Followed::new(&folder.file()).await;
    for value in 2..8 {
        let name = version(value);
        let swap = || {
            symlink(&name, folder.0.join("..data_tmp")).unwrap();
            fs::rename(folder.0.join("..data_tmp"), folder.0.join("..data")).unwrap();
            fs::remove_dir_all(folder.0.join(format!("..{}", value - 1))).unwrap();
        };
        followed.expect(value, swap).await;
    }
    followed.bar("config_map_swap_seen_ms");
}

/// A link out of the folder: an edit where it leads to is seen, and so is a link that leads elsewhere.
#[tokio::test]
async fn a_file_behind_a_link_is_seen() {
    let (folder, elsewhere) = (Folder::new("link"), Folder::new("elsewhere"));
    fs::write(elsewhere.file(), document(1)).unwrap();
    symlink(elsewhere.file(), folder.file()).unwrap();
    let mut followed = Followed::new(&folder.file()).await;
    followed.expect(2, || fs::write(elsewhere.file(), document(2)).unwrap()).await;
    let third = elsewhere.0.join("other.json");
    let relink = || {
        fs::write(&third, document(3)).unwrap();
        symlink(&third, folder.0.join("new")).unwrap();
        fs::rename(folder.0.join("new"), folder.file()).unwrap();
    };
    followed.expect(3, relink).await;
    followed.expect(4, || fs::write(&third, document(4)).unwrap()).await;
}
