use std::sync::{Condvar, MutexGuard};

use super::*;

/// A sink that tests read, and that can be blocked.
#[derive(Clone, Default)]
struct Sink(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    shut: bool,
}

impl Sink {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap()
    }

    fn shut(&self, shut: bool) {
        self.state().shut = shut;
        self.0.1.notify_all();
    }

    fn lines(&self) -> Vec<String> {
        String::from_utf8(self.state().bytes.clone()).unwrap().lines().map(Into::into).collect()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.1.wait_while(self.state(), |state| state.shut).unwrap();
        state.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LONG: Duration = Duration::from_secs(20);

fn log(settings: &Settings) -> (Log, Sink) {
    let sink = Sink::default();
    (Log::start(settings, "a", || 1_795_442_531_482, sink.clone()).unwrap(), sink)
}

#[test]
fn every_line_is_one_json_object() {
    let (log, sink) = log(&Settings::default());
    log.access(Access { path: "/\"\n".into(), ..Access::default() });
    log.fill(Fill::default());
    log.event(
        Event::new(Level::Warn, "dust", "down\n")
            .with("n", 7_u64)
            .with("who", vec!["b".to_owned()])
            .with("x", true),
    );
    log.audit(Event::new(Level::Info, "purge", "url").with("number", 42_u64));
    assert!(log.flush(LONG));
    let lines = sink.lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in &lines {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["instance"], "a");
    }
    let event: serde_json::Value = serde_json::from_str(&lines[2]).unwrap();
    assert_eq!(event["ts"], "2026-11-23T14:02:11.482Z");
    assert_eq!(event["who"][0], "b");
    assert_eq!(event["level"], "warn");
}

#[test]
fn errors_of_one_kind_are_counted_and_audits_are_not() {
    let (log, sink) = log(&Settings { format: Format::Text, ..Settings::default() });
    for _ in 0..100 {
        log.error("dust", "down");
        log.audit(Event::new(Level::Info, "purge", "url"));
        log.info("route", "added");
    }
    assert!(log.flush(LONG));
    let lines = sink.lines();
    let of = |kind: &str| lines.iter().filter(|line| line.contains(kind)).count();
    assert_eq!((of("error dust"), of("info purge"), of("info route")), (1, 100, 100));
    assert_eq!(lines[0], "14:02:11.482 error dust: down");
}

#[test]
fn what_was_counted_is_said_at_the_end() {
    let (log, sink) = log(&Settings { format: Format::Text, ..Settings::default() });
    for _ in 0..5 {
        log.error("dust", "down");
    }
    log.audit(Event::new(Level::Info, "purge", "all"));
    drop(log);
    // The thread ends by itself; the test waits for its last write.
    while !sink.lines().iter().any(|line| line.ends_with("times=4")) {
        std::thread::yield_now();
    }
    assert!(sink.lines().iter().any(|line| line.contains("info purge")));
}

#[test]
fn a_reader_that_stalls_costs_lines_and_not_time() {
    let (log, sink) = log(&Settings { capacity: 8, ..Settings::default() });
    sink.shut(true);
    for _ in 0..5000 {
        log.access(Access::default());
    }
    log.audit(Event::new(Level::Info, "purge", "all"));
    assert!(log.dropped() > 0);
    assert!(!log.flush(Duration::from_millis(20)));
    sink.shut(false);
    assert!(log.flush(LONG));
    let lines = sink.lines();
    assert!(lines.iter().any(|line| line.contains("\"purge\"")), "an audit line is never dropped");
    let written = lines.iter().filter(|line| line.contains("\"method\"")).count() as u64;
    assert_eq!(written + log.dropped(), 5000);
    assert!(lines.iter().any(|line| line.contains("log_dropped")));
}

#[test]
fn request_lines_can_be_off() {
    let (log, sink) = log(&Settings { requests: false, ..Settings::default() });
    assert!(!log.wants_requests());
    log.access(Access::default());
    log.fill(Fill::default());
    assert!(log.flush(LONG));
    assert!(sink.lines().is_empty());
    Log::null().info("nothing", "at all");
    assert!(Log::null().flush(Duration::ZERO));
}
