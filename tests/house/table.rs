//! The tables of rooms, as the documentation has them: `| room | what it holds | what it knows |`.

use std::collections::BTreeSet;

/// A line of a table.
#[derive(Debug)]
pub struct Room {
    /// Its name.
    pub name: String,
    /// Whom it may know.
    pub knows: Knows,
}

/// Whom a room may know.
#[derive(Debug)]
pub enum Knows {
    /// These.
    Only(BTreeSet<String>),
    /// Every room that stands above it in the table.
    AllAbove,
    /// Every room.
    Everything,
}

impl Room {
    /// Returns whether the room may know another one; `above`: that one stands above it.
    pub fn may_know(&self, other: &str, above: bool) -> bool {
        match &self.knows {
            Knows::Only(names) => names.contains(other),
            Knows::AllAbove => above,
            Knows::Everything => true,
        }
    }
}

/// Reads the first table in a file's documentation whose heading begins with this word.
///
/// # Panics
/// If there is none, or a line of it has another form.
pub fn read(text: &str, heading: &str) -> Vec<Room> {
    let head = format!("//! | {heading} |");
    let lines = text.lines().skip_while(|line| !line.starts_with(&head));
    let lines = lines.skip(2).map_while(|line| line.strip_prefix("//! |"));
    let mut rooms = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.trim_end_matches('|').split(" | ").map(str::trim).collect();
        let [names, _, knows] = cells[..] else { panic!("three cells are expected: {line}") };
        for name in quoted(names) {
            let knows = match knows {
                "nothing" => Knows::Only(BTreeSet::new()),
                "all above" => Knows::AllAbove,
                "everything" => Knows::Everything,
                _ => Knows::Only(quoted(knows).collect()),
            };
            rooms.push(Room { name, knows });
        }
    }
    assert!(!rooms.is_empty(), "there is no table of the {heading}s");
    rooms
}

/// The words between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = String> + '_ {
    cell.split('`').skip(1).step_by(2).map(str::to_owned)
}

#[test]
fn a_line_names_its_rooms_and_whom_they_know() {
    let text = "//! Words.\n//! | room | holds | knows |\n//! |---|---|---|\n//! | [`a`], [`b`] | x | nothing |\n\
                //! | `c` | y | `a`, `b` |\n//! | `d` | z | all above |\n//! More.\n";
    let rooms = read(text, "room");
    let names: Vec<&str> = rooms.iter().map(|room| room.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d"]);
    assert!(!rooms[1].may_know("a", true) && rooms[2].may_know("b", true) && !rooms[2].may_know("d", false));
    assert!(rooms[3].may_know("a", true) && !rooms[3].may_know("e", false));
}
