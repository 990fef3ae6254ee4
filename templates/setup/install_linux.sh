set -eu
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
if ! command -v npm >/dev/null 2>&1; then
  if command -v apt-get >/dev/null 2>&1; then
    as_root apt-get update </dev/null
    as_root apt-get install -y nodejs npm git ca-certificates </dev/null
  elif command -v dnf >/dev/null 2>&1; then
    as_root dnf install -y nodejs npm git </dev/null
  else
    echo "npm is missing. Install Node.js LTS from https://nodejs.org, then run this again." >&2
    exit 1
  fi
fi
{% include "setup/install_npm.sh" %}
