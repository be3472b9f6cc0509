//! Attacks run end to end, with independent checkers.
//!
//! `synthetic` makes a centre that never was, `tamper` edits plans, `attack` destroys servers, `check` judges, `report`
//! tells; `eleven_of_fourteen`, `machines`, `open_filer`, `outage_week`, `treatments_first`, `under_fire` and `wrong_dose` put them
//! together over the seam in `system`, behind which the real centre stands.

pub mod attack;
pub mod check;
pub mod eleven_of_fourteen;
pub mod honest_year;
mod input;
pub mod machines;
pub mod open_filer;
pub mod outage_week;
pub mod report;
pub mod synthetic;
pub mod system;
pub mod tamper;
pub mod treatments_first;
pub mod under_fire;
pub mod work;
pub mod wrong_dose;
