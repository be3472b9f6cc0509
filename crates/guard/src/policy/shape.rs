//! Whether a text of rules may be read at all. Cedar's parser, validator and evaluator recurse, and a stack that overflows ends the process:
//! so what nests deeply, or strings much together, is refused before any of them sees it.

use super::PolicyError;

/// Parentheses, brackets and braces within each other.
const DEPTH_MAX: usize = 16;
/// Operators, members and conditions of one rule.
const STEPS_MAX: usize = 200;
/// Rules of a centre.
const RULES_MAX: usize = 500;

/// Reads strings and comments as Cedar does, and counts the rest.
pub(crate) fn check(text: &str) -> Result<(), PolicyError> {
    let (mut depth, mut steps, mut rule) = (0_usize, 0_usize, 1_usize);
    let mut chars = text.chars().peekable();
    let mut word = String::new();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if matches!(word.as_str(), "if" | "has" | "like" | "in" | "is") {
            steps += 1;
        }
        word.clear();
        match c {
            '"' => while chars.next_if(|c| *c != '"').is_some_and(|c| c != '\\' || chars.next().is_some()) {},
            '/' if chars.next_if_eq(&'/').is_some() => while chars.next_if(|c| *c != '\n').is_some() {},
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '!' | '-' | '+' | '*' | '.' | '<' | '>' | '=' | '&' | '|' | '/' | '%' => steps += 1,
            ';' => {
                rule += 1;
                (depth, steps) = (0, 0);
            }
            _ => {}
        }
        // A string's end.
        if c == '"' {
            chars.next();
        }
        if depth > DEPTH_MAX {
            return Err(PolicyError::TooDeep { rule, maximum: DEPTH_MAX });
        }
        if steps > STEPS_MAX {
            return Err(PolicyError::TooManySteps { rule, maximum: STEPS_MAX });
        }
    }
    if rule > RULES_MAX {
        return Err(PolicyError::TooManyRules { found: rule, maximum: RULES_MAX });
    }
    Ok(())
}
