//! Figures as the rows of a Markdown table: medians of rounds, with the least and the most.

/// Whose figures stand in which column.
pub const COLUMNS: [&str; 4] = ["burnbag", "nginx", "nginx, each file synced", "MinIO, straight"];

/// A figure of one round, for each column that has one.
pub struct Row {
    pub name: String,
    /// What burnbag is held to.
    pub aim: &'static str,
    pub cells: [Option<f64>; COLUMNS.len()],
}

/// A figure that only burnbag has.
pub fn own(name: impl Into<String>, aim: &'static str, value: f64) -> Row {
    Row { name: name.into(), aim, cells: [Some(value), None, None, None] }
}

/// A figure of burnbag on MinIO, and of MinIO alone.
pub fn beside_minio(name: &str, aim: &'static str, [ours, straight]: [Option<f64>; 2]) -> Row {
    Row { name: name.to_owned(), aim, cells: [ours, None, None, straight] }
}

/// Prints the head of the table.
pub fn head() {
    println!("| | aim | {} |", COLUMNS.join(" | "));
    println!("| --- | --- |{}", " --- |".repeat(COLUMNS.len()));
}

/// Prints the same rows out of several rounds.
pub fn print(rounds: &[Vec<Row>]) {
    for (at, Row { name, aim, cells }) in rounds[0].iter().enumerate() {
        let cells: Vec<String> = (0..cells.len())
            .map(|column| {
                let taken: Vec<f64> = rounds.iter().filter_map(|round| round[at].cells[column]).collect();
                cell(taken)
            })
            .collect();
        println!("| {name} | {aim} | {} |", cells.join(" | "));
    }
}

fn cell(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => String::new(),
        [only] => short(*only),
        [least, .., most] => {
            format!("{} ({} to {})", short(values[values.len() / 2]), short(*least), short(*most))
        }
    }
}

/// Three digits that say something.
fn short(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
    }
}
