use super::*;

fn span(row: &str, name: &str, from_us: i64, us: i64, step: u64) -> Span {
    let (from_ns, ns) = (1000 * from_us, 1000 * us as u64);
    Span { row: row.into(), name: name.into(), from_ns, ns, step, ..Span::default() }
}

fn flow(row: &str, from_us: i64, us: i64) -> Span {
    Span { flow: "7 A conv3 0".into(), bytes: 9, ..span(row, "conv3 0", from_us, us, 7) }
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn trace(&self) -> Trace {
        Trace { start_ns: 0, ..Trace::new(&self.0.path().join("trace.json"), 0) }
    }

    fn events(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.0.path().join("trace.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn kinds(&self, phase: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["ph"] == phase).collect()
    }
}

fn dir() -> Dir {
    Dir(tempfile::tempdir().unwrap())
}

#[test]
fn an_arrow_is_drawn_once_both_ends_are_known_whichever_came_first() {
    for order in [[0, 1], [1, 0]] {
        let dir = dir();
        let mut trace = dir.trace();
        let ends = [("half A", flow("send", 10, 5)), ("half B", flow("receive", 12, 8))];
        trace.add(ends[order[0]].0, &[ends[order[0]].1.clone()], None);
        assert_eq!((dir.kinds("s").len(), dir.kinds("f").len()), (0, 0));
        trace.add(ends[order[1]].0, &[ends[order[1]].1.clone()], None);
        let (s, f) = (dir.kinds("s").remove(0), dir.kinds("f").remove(0));
        assert_eq!((s["ts"].as_f64(), f["ts"].as_f64()), (Some(10.0), Some(19.0)));
        assert_eq!((&s["id"], &f["bp"]), (&f["id"], &json!("e")));
        let send = dir.kinds("X").into_iter().find(|x| x["pid"] == s["pid"]).unwrap();
        assert_eq!((&send["tid"], &send["args"]["bytes"]), (&s["tid"], &json!(9)));
    }
}

#[test]
fn overlapping_spans_get_rows_of_their_own_and_every_row_a_name() {
    let dir = dir();
    let spans = [
        span("send", "a", 10, 10, 2),
        span("send", "b", 15, 10, 2),
        span("send", "c", 20, 5, 2),
        span("send", "d", 5, 6, 2),
    ];
    dir.trace().add("loader x", &spans, None);
    let tids: Vec<_> = dir.kinds("X").iter().map(|x| x["tid"].as_u64().unwrap()).collect();
    assert_eq!(tids, [1, 2, 1, 2]);
    let names: Vec<_> = dir.kinds("M").iter().map(|m| m["args"]["name"].clone()).collect();
    assert!(names.contains(&json!("loader x")) && names.contains(&json!("send 2")), "{names:?}");
}

#[test]
fn the_first_steps_fill_the_trace_and_it_grows_no_more() {
    let dir = dir();
    let mut trace = dir.trace();
    for step in 1..=2 * STEPS as u64 {
        trace.add("half A", &[span("step", "s", 10 * step as i64, 5, step)], Some(0.25));
        trace.grant(step, 10_000 * step as i64);
        trace.grant(step, 10_000 * step as i64);
    }
    for step in 1..=2 * OWN as u64 {
        trace.own("checkpoint", step, 0, 1);
    }
    assert_eq!(dir.kinds("X").len(), STEPS + OWN);
    assert_eq!(dir.kinds("i").len(), STEPS, "one per step, though each half gets the command");
    assert_eq!(dir.kinds("X")[0]["args"]["clock_uncertainty_us"], 250.0);
}

#[test]
fn a_trace_that_a_crash_cut_off_continues_with_the_same_rows() {
    let dir = dir();
    dir.trace().add("half A", &[span("compute", "x", 1, 1, 2), span("send", "y", 2, 1, 2)], None);
    let path = dir.0.path().join("trace.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 20]).unwrap();
    let before = text.lines().filter(|line| line.contains("\"M\"")).count();
    dir.trace().add("half A", &[span("send", "z", 9, 1, 3)], None);
    assert_eq!(dir.kinds("M").len(), before);
    let names: Vec<_> = dir.kinds("X").iter().map(|x| x["name"].clone()).collect();
    assert_eq!(names, ["x", "z"]);
}

#[test]
fn a_trace_that_can_not_be_written_ends_and_nothing_else() {
    let dir = dir();
    let nowhere = dir.0.path().join("nowhere");
    std::fs::write(&nowhere, "in the way").unwrap();
    let mut trace = Trace { start_ns: 0, ..Trace::new(&nowhere.join("trace.json"), 0) };
    trace.add("half A", &[span("compute", "x", 1, 1, 2)], None);
    assert!(trace.failed, "the folder is a file");
    trace.add("half A", &[span("compute", "x", 1, 1, 2)], None);
}
