//! What a plan's machines are set up by: one script for each server, one for the gateway, and one that brings them to all servers.
//!
//! They do what the runbooks say, may be repeated, and stop at the first thing that fails. `sh` and what Debian has.

use std::fmt::Write as _;
use std::net::SocketAddr;

use holder::server_name;

/// Whether the unit still runs a while after its start: a program that ends at once is started again and again.
const STILL_RUNS: &str = "stays() {\n  \
                            sleep 1; systemctl is-active --quiet \"$1\" && sleep \"$2\" && systemctl is-active --quiet \"$1\" && return\n  \
                            echo \"$1 does not stay up; its last words:\" >&2\n  \
                            journalctl --unit \"$1\" --lines 20 --no-pager >&2\n  \
                            exit 1\n\
                          }\n";

/// As root on a server, in its folder, with the program `holdfast-holder` in it or in its place.
pub fn server() -> String {
    "#!/bin/sh\n\
     # As root on this server. It may be repeated: what is there stays, and what runs goes on.\n\
     set -eu\n\
     cd \"$(dirname \"$0\")\"\n\
     home=/var/lib/holdfast-holder\n\
     program=/usr/local/bin/holdfast-holder\n"
        .to_owned()
        + STILL_RUNS
        + "[ -x \"$program\" ] || install -m 755 holdfast-holder \"$program\"\n\
     id -u holdfast >/dev/null 2>&1 || useradd --system --home-dir \"$home\" --no-create-home holdfast\n\
     if [ ! -e \"$home/holder.toml\" ]; then\n  \
       install -d -m 700 -o holdfast -g holdfast \"$home\"\n  \
       for file in *; do\n    \
         case \"$file\" in holdfast-holder|setup.sh) continue ;; esac\n    \
         cp -r \"$file\" \"$home/\"\n  \
       done\n  \
       chown -R holdfast: \"$home\"\n\
     fi\n\
     # A holder that runs has its folder open, and was initialized.\n\
     systemctl is-active --quiet holdfast-holder || runuser -u holdfast -- \"$program\" init --dir \"$home\"\n\
     install -m 644 holdfast-holder.service /etc/systemd/system/holdfast-holder.service\n\
     systemctl daemon-reload\n\
     systemctl enable --now holdfast-holder\n\
     stays holdfast-holder 3\n\
     # The join code in it was used; what is needed is in its place.\n\
     rm -f holder.toml\n\
     echo \"done: open this server's firewall for the gateway and the other servers, and for nobody else\"\n"
}

/// From the machine where the plan was made: to each server in turn.
pub fn servers(addresses: &[SocketAddr]) -> String {
    let mut text = "#!/bin/sh\n\
                    # Brings each server's folder and the program to it, and sets it up: PROGRAM is holdfast-holder, and root may sign in there\n\
                    # by ssh. Without ssh: copy the folders, and run setup.sh in each. It may be repeated.\n\
                    set -eu\n\
                    program=${1:?usage: setup-servers.sh PATH-OF-holdfast-holder}\n\
                    [ -f \"$program\" ] || { echo \"$program: no such file\" >&2; exit 1; }\n\
                    case \"$program\" in /*) ;; *) program=$PWD/$program ;; esac\n\
                    cd \"$(dirname \"$0\")\"\n\
                    failed=\n\
                    # Before any of them is touched.\n\
                    reach() {\n  \
                      ssh -o BatchMode=yes -o ConnectTimeout=10 \"root@$2\" true || failed=\"$failed $1\"\n\
                    }\n\
                    each() {\n  \
                      echo \"$1 at $2\"\n  \
                      case \"$2\" in *:*) there=\"root@[$2]\" ;; *) there=\"root@$2\" ;; esac\n  \
                      # What an earlier try left would take the new copy inside itself; the join code in it doesn't stay there, however it ends.\n  \
                      ssh -o BatchMode=yes \"root@$2\" \"rm -rf holdfast-$1\" &&\n    \
                        scp -q -r \"$1\" \"$there:holdfast-$1\" &&\n    \
                        scp -q \"$program\" \"$there:holdfast-$1/holdfast-holder\" &&\n    \
                        ssh -o BatchMode=yes \"root@$2\" \"sh holdfast-$1/setup.sh; code=\\$?; rm -rf holdfast-$1; exit \\$code\" ||\n    \
                        failed=\"$failed $1\"\n\
                    }\n"
    .to_owned();
    let lines = |text: &mut String, act: &str| {
        for (number, address) in (1..).zip(addresses) {
            let _ = writeln!(text, "{act} {} {}", server_name(number), address.ip());
        }
    };
    lines(&mut text, "reach");
    text.push_str(
        "if [ -n \"$failed\" ]; then\n  \
           echo \"root can't sign in by ssh without being asked at:$failed. Nothing was done. Where a host key isn't known yet: sign in once by\" >&2\n  \
           echo \"hand and compare its fingerprint; where a password is asked: bring your public key there (ssh-copy-id).\" >&2\n  \
           exit 1\n\
         fi\n",
    );
    lines(&mut text, "each");
    text.push_str(
        "[ -z \"$failed\" ] || { echo \"NOT set up:$failed; the others are. Mend these, and run this again.\" >&2; exit 1; }\n\
         echo \"all servers are set up: the gateway is next (gateway/setup.sh)\"\n",
    );
    text
}

/// As root on the gateway, in the plan's folder `gateway`, with the program `holdfast` there or in its place.
pub fn gateway() -> String {
    "#!/bin/sh\n\
     # As root on the gateway, when all servers run. It may be repeated: what is there stays. More words go to `holdfast init`:\n\
     # --custodian age1… for each custodian who has a key of her own.\n\
     set -eu\n\
     cd \"$(dirname \"$0\")/..\"\n\
     home=/var/lib/holdfast\n\
     program=/usr/local/bin/holdfast\n"
        .to_owned()
        + STILL_RUNS
        + "[ -x \"$program\" ] || install -m 755 gateway/holdfast \"$program\"\n\
     id -u holdfast >/dev/null 2>&1 || useradd --system --home-dir \"$home\" --no-create-home holdfast\n\
     install -d -m 700 -o holdfast -g holdfast \"$home\"\n\
     if [ ! -e \"$home/data/gateway/holdfast.toml\" ]; then\n  \
       rm -rf \"$home/plan\"\n  \
       cp -r . \"$home/plan\"\n  \
       rm -f \"$home/plan/gateway/holdfast\"\n  \
       chown -R holdfast: \"$home/plan\"\n  \
       runuser -u holdfast -- \"$program\" init --plan \"$home/plan\" --data \"$home/data\" \"$@\"\n\
     fi\n\
     install -m 644 gateway/holdfast.service /etc/systemd/system/holdfast.service\n\
     systemctl daemon-reload\n\
     systemctl enable --now holdfast\n\
     stays holdfast 8\n\
     echo \"done: go on with step 4 of gateway/RUNBOOK.md (people, custodians' sheets, the officer's key, every copy of the plan)\"\n"
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let addresses = ["10.1.2.1:7414".parse().unwrap(), "[2001:db8::2]:7414".parse().unwrap()];
        for (at, text) in [server(), servers(&addresses), gateway()].into_iter().enumerate() {
            let file = dir.path().join(format!("{at}.sh"));
            std::fs::write(&file, &text).unwrap();
            assert!(Command::new("sh").arg("-n").arg(&file).status().unwrap().success(), "{text}");
            assert!(text.contains("set -eu"), "it stops where something fails");
        }
        let text = servers(&addresses);
        assert!(text.contains("reach server-02 2001:db8::2\n") && text.contains("each server-02 2001:db8::2\n"));
    }

    /// `ssh` and `scp` that do it here, in a folder for each host; the second host has no room for what is brought.
    #[test]
    fn one_server_that_fails_holds_no_other_up() {
        use std::os::unix::fs::PermissionsExt as _;

        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = dir.path().join(name);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        };
        write(
            "bin/ssh",
            "#!/bin/sh\nwhile [ \"$1\" = -o ]; do shift 2; done\nhost=${1#root@}; mkdir -p \"$HOSTS/$host\"; cd \"$HOSTS/$host\"; sh -c \"$2\"\n",
        );
        write(
            "bin/scp",
            "#!/bin/sh\nfor last; do :; done\nwhile case \"$1\" in -*) true ;; *) false ;; esac; do shift; done\nto=${last#root@}; case \"$to\" in $FULL:*) exit 1 ;; esac\ncp -r \"$1\" \"$HOSTS/${to%%:*}/${to#*:}\"\n",
        );
        for server in ["server-01", "server-02", "server-03"] {
            write(&format!("plan/{server}/setup.sh"), "#!/bin/sh\necho ran >> ran\n");
        }
        let addresses = ["10.1.2.1:7414", "10.1.2.2:7414", "10.1.2.3:7414"].map(|address| address.parse().unwrap());
        write("plan/setup-servers.sh", &servers(&addresses));
        write("target/holdfast-holder", "");
        let run = |full: &str, program: &str| {
            let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").unwrap());
            let mut command = Command::new("sh");
            command.args(["plan/setup-servers.sh", program]).current_dir(dir.path());
            let done =
                command.env("PATH", path).env("HOSTS", dir.path().join("hosts")).env("FULL", full).output().unwrap();
            (done.status.code(), String::from_utf8(done.stderr).unwrap())
        };
        let ran =
            |host: &str| std::fs::read_to_string(dir.path().join("hosts").join(host).join("ran")).unwrap_or_default();
        assert_eq!(run("", "target/nothing").0, Some(1), "no program");
        // A path from where it is called, as README has it.
        let (code, said) = run("10.1.2.2", "target/holdfast-holder");
        assert_eq!(code, Some(1));
        assert!(said.contains("NOT set up: server-02;"), "{said}");
        assert_eq!(["10.1.2.1", "10.1.2.2", "10.1.2.3"].map(|host| ran(host).lines().count()), [1, 0, 1]);
        assert_eq!(run("", "target/holdfast-holder").0, Some(0), "again");
        assert_eq!(["10.1.2.1", "10.1.2.2", "10.1.2.3"].map(|host| ran(host).lines().count()), [2, 1, 2]);
        let left = std::fs::read_dir(dir.path().join("hosts/10.1.2.1")).unwrap().count();
        assert_eq!(left, 1, "no folder with a join code stays");
    }
}
