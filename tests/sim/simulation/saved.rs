//! Plans in files, one for each fault that the simulation has found: JSON, one line for each
//! machine and each action.
//!
//! A seed means what it meant only while nobody draws one random number more; a file does not
//! change with `plan`.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::plan::Plan;

/// What one file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Saved {
    /// What was wrong with the program, in one sentence.
    pub fault: String,
    pub plan: Plan,
}

impl Saved {
    pub fn load(path: &Path) -> Result<Self, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::from_text(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn save(&self, path: &Path) -> Result<(), String> {
        fs::write(path, self.to_text()).map_err(|error| format!("{}: {error}", path.display()))
    }

    pub fn from_text(text: &str) -> Result<Self, String> {
        let saved: Self =
            serde_json::from_str(text).map_err(|error| format!("it holds no plan: {error}"))?;
        let nodes = saved.plan.machines.len();
        match saved.fault.trim().is_empty() {
            _ if nodes < 2 => {
                Err(format!("a plan needs 2 machines or more, and this one has {nodes}"))
            }
            true => Err("it does not say what the fault was".to_owned()),
            false => Ok(saved),
        }
    }

    pub fn to_text(&self) -> String {
        lay_out(
            &serde_json::to_string(self).expect("numbers, names and lists can always be written"),
        )
    }
}

/// How deep lines are broken: the file, the plan, the lists of machines and of actions.
const BROKEN_DEPTH: usize = 3;

/// Breaks compact JSON into lines.
fn lay_out(json: &str) -> String {
    let (mut text, mut depth, mut is_quoted, mut is_escaped) = (String::new(), 0, false, false);
    for char in json.chars() {
        if is_quoted {
            is_quoted = is_escaped || char != '"';
            is_escaped = !is_escaped && char == '\\';
            text.push(char);
            continue;
        }
        match char {
            '{' | '[' => {
                depth += 1;
                text.push(char);
                break_line(&mut text, depth, "");
            }
            '}' | ']' => {
                depth -= 1;
                if depth < BROKEN_DEPTH {
                    break_line(&mut text, depth, "");
                }
                text.push(char);
            }
            ',' => {
                text.push(char);
                break_line(&mut text, depth, " ");
            }
            ':' => text.push_str(": "),
            _ => {
                is_quoted = char == '"';
                text.push(char);
            }
        }
    }
    text + "\n"
}

/// A new line, or what stands in its place where lines are not broken.
fn break_line(text: &mut String, depth: usize, otherwise: &str) {
    match depth <= BROKEN_DEPTH {
        true => {
            text.push('\n');
            text.push_str(&"  ".repeat(depth));
        }
        false => text.push_str(otherwise),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_reads_back_as_it_was() {
        for seed in 0..500 {
            let saved = Saved {
                fault: format!("a \"fault\", {{as [such]: \\ {seed}"),
                plan: Plan::new(seed),
            };
            let text = saved.to_text();
            assert_eq!(Saved::from_text(&text).as_ref(), Ok(&saved), "{text}");
        }
    }

    #[test]
    fn machines_and_actions_have_a_line_each() {
        let plan = Plan::new(7);
        let lines = plan.machines.len() + plan.actions.len();
        let text = Saved { fault: "it is {wrong}, [very]".to_owned(), plan }.to_text();
        assert!(text.lines().filter(|line| line.starts_with("      ")).count() == lines, "{text}");
        assert_eq!(text.lines().nth(1), Some(r#"  "fault": "it is {wrong}, [very]","#));
    }

    #[test]
    fn what_a_machine_gained_later_may_be_missing() {
        let text = r#"{"fault": "a fault", "plan": {"seed": 1,
            "machines": [{}, {"watch": {"delay_ms": 5}}], "max_delay_ms": 0, "one_at_a_time": false,
            "actions": [{"at_ms": 3, "what": "settle"}]}}"#;
        let plan = Saved::from_text(text).expect("it is a plan").plan;
        assert_eq!(plan.machines[0], Default::default());
        assert_eq!(plan.machines[1].watch.max_watches, plan.machines[0].watch.max_watches);
    }
}
