//! Who may do what: what is shown can be shown again, and what others would change is said.

use super::Site;

#[test]
fn other_rules_are_reviewed_against_those_that_run() {
    let site = Site::new();
    let shown = site.done(&["policy", "show"]).out;
    let review = |name: &str, rules: &str| {
        let file = site.file(name, rules.as_bytes());
        site.run(&["policy", "review", &file, "--json"])
    };
    let same = review("same.cedar", &shown);
    assert_eq!((same.exit, same.json()["differences"].as_array().map(Vec::len)), (0, Some(0)), "{}", same.out);
    let more = r#"@id("therapists-write") permit (principal == Role::"therapist", action == Action::"write-record", resource);
                  @id("it-reads") permit (principal == Role::"it-administrator", action == Action::"read-record", resource);"#;
    let more = review("more.cedar", &format!("{shown}\n{more}"));
    assert_eq!(more.exit, 4, "{}", more.out);
    let differences = more.json()["differences"].clone();
    let roles: Vec<&str> = differences.as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
    assert!(!roles.is_empty() && roles.iter().all(|role| *role == "therapist"), "{differences}");
    for broken in
        ["permit (principal, action, resource);", r#"@id("x") permit (principal == Role::"nurse", action, resource);"#]
    {
        assert_eq!(review("broken.cedar", broken).exit, 1, "{broken}");
    }
}
