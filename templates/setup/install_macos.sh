set -eu
if ! command -v npm >/dev/null 2>&1; then
  if command -v brew >/dev/null 2>&1; then
    brew install node git </dev/null
  else
    echo "npm is missing. Install Node.js LTS from https://nodejs.org, then run this again." >&2
    exit 1
  fi
fi
{% include "setup/install_npm.sh" %}
