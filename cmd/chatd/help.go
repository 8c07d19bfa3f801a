package main

import (
	"fmt"
	"strings"
)

func topHelp() string {
	var b strings.Builder
	b.WriteString("chatd is an XMPP chat server.\n\nUsage:\n\n  chatd [COMMAND] [ARGUMENTS]\n\nCommands:\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-9s %s\n", c.name, c.summary)
	}
	b.WriteString(`  help      print this, or the help of a command

Without a command and a configuration file chatd runs in development mode: on
this machine only, with the domain localhost and its data in ./chatd-data.

Try it:

  chatd                            in one terminal
  chatd user add alice@localhost   in another

and log in as alice@localhost with any XMPP client.
Help on a command: chatd help COMMAND.
Exit codes: 0 fine, 1 failed, 2 wrong usage.
`)
	return b.String()
}

const serveHelp = `Usage: chatd serve [-config FILE] [-data DIR] [-log-level LEVEL]

Runs the server until SIGINT or SIGTERM; a second signal ends it at once.
SIGHUP, or a change of the configuration file or the certificate, reloads them
without dropping a session.

  -config FILE      configuration (TOML). Without it: development mode, which
                    listens on loopback only, on 5222 (STARTTLS), 5223 (direct
                    TLS) and 5281 (private API), for the domain localhost, with
                    a self-signed certificate, and lets clients register.
  -data DIR         where the data is, instead of what the file says;
                    ./chatd-data in development mode
  -log-level LEVEL  debug, info, warn or error; info if not given. Logs go to
                    the standard error output.

Examples:

  chatd
  chatd serve -data /tmp/try-chatd
  chatd serve -config /etc/chatd/chatd.toml
`

const userHelp = `Usage: chatd user add    JID [-password PASSWORD] [-config FILE] [-data DIR]
       chatd user passwd JID [-password PASSWORD] [-config FILE] [-data DIR]
       chatd user remove JID [-config FILE] [-data DIR]
       chatd user list       [-config FILE] [-data DIR]

Manages accounts, also while the server runs. Name the server's data by the same
-config or -data that the server has; without either it is ./chatd-data.

  JID                 alice@localhost, or alice alone
  -password PASSWORD  other users of this machine may see it while the command
                      runs. Without it the password is asked for on a terminal,
                      or read as one line from the standard input.

add     makes an account.
passwd  gives it another password.
remove  deletes it with all that is stored for it: friends, messages that wait,
        profile. Sessions that are connected go on until they end.
list    prints all accounts, one a line.

Examples:

  chatd user add alice@localhost
  chatd user add bob -password 'correct horse'
  pwgen 20 1 | chatd user passwd alice@chat.test -config /etc/chatd/chatd.toml
  chatd user list -data /var/lib/chatd
`

const clusterHelp = `Usage: chatd cluster status [-api URL] [-config FILE]
       chatd cluster leave [-api URL] [-config FILE]
       chatd cluster forget NODE [-api URL] [-config FILE]

Asks a running node by its private API, which is where -api says or, with the
node's configuration file, the first address of api.listen.

  status    the nodes, their sessions and links, and whether they agree
  leave     have the node send its clients to the others and end, as on SIGTERM
  forget    have all nodes look no more for one that died for good, nor miss it

The token for the API is in the environment as CHATD_API_TOKEN: for status it
needs the scope "metrics", else "admin".
`

const storeHelp = `Usage: chatd store backup FILE   [-config FILE] [-data DIR]
       chatd store check  [FILE] [-config FILE] [-data DIR]
       chatd store copy --from DSN --to DSN [--resume] [--force]
       chatd store copy --from DSN --to DSN --verify
       chatd store import FILE|FOLDER [-host NAME] [-replace]
                          [-config FILE] [-data DIR]
       chatd store export FILE [-config FILE] [-data DIR]

backup and check take care of a database in SQLite, also while the server runs.
Name the server's data by the same -config or -data that the server has; without
either it is ./chatd-data. Run them as the user that the server runs as.

backup  writes a consistent copy into a new file, which only its owner can
        read: everything that was acknowledged before. It is on disk and has
        been checked when the command ends well; nothing is left if it fails.
        To restore: stop chatd, put the copy in place of chatd.db, remove
        chatd.db-wal and chatd.db-shm, start.
check   reads a whole database, the server's or FILE, and looks for damage.
        Prints one line; the exit code is 1 if there is any.

copy, import and export move what is stored: between stores, and from and to
other XMPP servers. Stop chatd before copy and import, on all nodes: what is
written meanwhile is lost.

  DSN       sqlite:PATH   the database file, by default chatd.db in the data
                          directory, which no running chatd may have
            mysql:DSN     as store.dsn has it
            riak:HOST:PORT[,HOST:PORT]
            config:FILE   the store of this configuration
            env:NAME      the DSN is in this environment variable
            file:PATH     it is in this file

copy  copies everything from one store to another, then reads both and prints
      for each kind of records how many there are and a checksum. Exit code 1 if
      they differ. The target must be empty.
  --resume  goes on with a copy that was broken off, in whatever way: what the
            target has already is compared, and copied again if it differs. A
            name that only the target has is an error.
  --force   is --resume that removes names which only the target has.
  --verify  copies nothing and compares.

import  makes accounts of a file, or of all files *.xml in a folder, that
        another server has exported (XEP-0227): ejabberd, Prosody, Openfire,
        chatd. With passwords or SCRAM credentials, friends and requests,
        messages that wait, private XML, vCards, and what a default privacy
        list denies. Prints what it did not keep, by kind. Exit code 1 if a
        user was refused. Accounts that exist are left as they are, so that it
        can be repeated.
  -host NAME  whose users are ours now, if our domain was NAME there; its
              addresses become ours everywhere
  -replace    accounts that exist become what the file says
export  writes all accounts as such a file, also while chatd runs; without
        clients' tokens, and without rooms.

Examples:

  chatd store backup /backup/chatd-$(date +%F).db -config /etc/chatd/chatd.toml
  chatd store check /backup/chatd-2026-11-22.db
  chatd store copy --from sqlite:/var/lib/chatd/chatd.db --to env:CHATD_MYSQL
  chatd store copy --from sqlite:old.db --to sqlite:new.db --verify
  chatd store import /var/lib/ejabberd/export -config /etc/chatd/chatd.toml
  chatd store export players.xml -data /var/lib/chatd
`

const checkHelp = `Usage: chatd check -config FILE

Checks a configuration file without starting anything: every key and value, that
the certificate and its key can be loaded, and that the data directory can be
written to. Prints "FILE: ok", or all that is wrong, one line each.

Example:

  chatd check -config /etc/chatd/chatd.toml && systemctl reload chatd
`

const versionHelp = `Usage: chatd version

Prints the version of chatd, the revision it was built from, and the version of
Go that built it.
`
