"""`make mails`: prints the mails that a running `make run` has sent, as text."""

from __future__ import annotations

import sys

from localaws import running, sent_mails


def main() -> int:
    addresses = running()
    if not addresses:
        print("No `make run` is running in this checkout. Start one first.", file=sys.stderr)
        return 1
    mails = sent_mails(addresses["aws"])
    for mail in mails:
        print(f"To: {', '.join(mail['To'])}\nSubject: {mail['Subject']}\n\n{mail['BodyText'].strip()}\n\n{'-' * 78}")
    print(f"Mails: {len(mails)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
