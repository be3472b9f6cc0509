//! What a plan's machines are set up by: one script for each server, one for the gateway, and one that brings them to all servers.
//!
//! They do what the runbooks say, may be repeated, and stop at the first thing that fails. `sh` and what Debian has.

use std::fmt::Write as _;
use std::net::SocketAddr;

use holder::server_name;

/// As root on a server, in its folder, with the program `holdfast-holder` in it or in its place.
pub fn server() -> String {
    "#!/bin/sh\n\
     # As root on this server. It may be repeated: what is there stays.\n\
     set -eu\n\
     cd \"$(dirname \"$0\")\"\n\
     home=/var/lib/holdfast-holder\n\
     program=/usr/local/bin/holdfast-holder\n\
     [ -x \"$program\" ] || install -m 755 holdfast-holder \"$program\"\n\
     id -u holdfast >/dev/null 2>&1 || useradd --system --home-dir \"$home\" --no-create-home holdfast\n\
     if [ ! -e \"$home/holder.toml\" ]; then\n  \
       install -d -m 700 -o holdfast -g holdfast \"$home\"\n  \
       for file in *; do\n    \
         case \"$file\" in holdfast-holder|setup.sh) continue ;; esac\n    \
         cp -r \"$file\" \"$home/\"\n  \
       done\n  \
       chown -R holdfast: \"$home\"\n\
     fi\n\
     runuser -u holdfast -- \"$program\" init --dir \"$home\"\n\
     install -m 644 holdfast-holder.service /etc/systemd/system/holdfast-holder.service\n\
     systemctl daemon-reload\n\
     systemctl enable --now holdfast-holder\n\
     # The join code in it was used; what is needed is in its place.\n\
     rm -f holder.toml\n\
     echo \"done: open this server's firewall for the gateway and the other servers, and for nobody else\"\n"
        .to_owned()
}

/// From the machine where the plan was made: to each server in turn.
pub fn servers(addresses: &[SocketAddr]) -> String {
    let mut text = "#!/bin/sh\n\
                    # Brings each server's folder and the program to it, and sets it up: PROGRAM is holdfast-holder, and root may sign in there\n\
                    # by ssh. Without ssh: copy the folders, and run setup.sh in each.\n\
                    set -eu\n\
                    program=${1:?usage: setup-servers.sh PATH-OF-holdfast-holder}\n\
                    cd \"$(dirname \"$0\")\"\n\
                    each() {\n  \
                      echo \"$1 at $2\"\n  \
                      case \"$2\" in *:*) there=\"root@[$2]\" ;; *) there=\"root@$2\" ;; esac\n  \
                      # What an earlier try left would take the new copy inside itself.\n  \
                      ssh -o BatchMode=yes \"root@$2\" \"rm -rf holdfast-$1\"\n  \
                      scp -q -r \"$1\" \"$there:holdfast-$1\"\n  \
                      scp -q \"$program\" \"$there:holdfast-$1/holdfast-holder\"\n  \
                      ssh -o BatchMode=yes \"root@$2\" \"sh holdfast-$1/setup.sh && rm -r holdfast-$1\"\n\
                    }\n"
    .to_owned();
    for (number, address) in (1..).zip(addresses) {
        let _ = writeln!(text, "each {} {}", server_name(number), address.ip());
    }
    text.push_str("echo \"all servers are set up: the gateway is next (gateway/setup.sh)\"\n");
    text
}

/// As root on the gateway, in the plan's folder `gateway`, with the program `holdfast` there or in its place.
pub fn gateway() -> String {
    "#!/bin/sh\n\
     # As root on the gateway, when all servers run. It may be repeated: what is there stays.\n\
     set -eu\n\
     cd \"$(dirname \"$0\")/..\"\n\
     home=/var/lib/holdfast\n\
     program=/usr/local/bin/holdfast\n\
     [ -x \"$program\" ] || install -m 755 gateway/holdfast \"$program\"\n\
     id -u holdfast >/dev/null 2>&1 || useradd --system --home-dir \"$home\" --no-create-home holdfast\n\
     install -d -m 700 -o holdfast -g holdfast \"$home\"\n\
     if [ ! -e \"$home/data/gateway/holdfast.toml\" ]; then\n  \
       rm -rf \"$home/plan\"\n  \
       cp -r . \"$home/plan\"\n  \
       chown -R holdfast: \"$home/plan\"\n  \
       runuser -u holdfast -- \"$program\" init --plan \"$home/plan\" --data \"$home/data\"\n\
     fi\n\
     install -m 644 gateway/holdfast.service /etc/systemd/system/holdfast.service\n\
     systemctl daemon-reload\n\
     systemctl enable --now holdfast\n\
     echo \"done: go on with step 4 of gateway/RUNBOOK.md (people, custodians' sheets, the officer's key, every copy of the plan)\"\n"
        .to_owned()
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
        assert!(servers(&addresses).contains("each server-02 2001:db8::2\n"));
    }
}
