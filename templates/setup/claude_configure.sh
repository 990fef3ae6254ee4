set -eu
umask 077
token='{{ placeholder }}'
case "$token" in
  '' | *[!A-Za-z0-9._~+/=-]*)
    echo "Put your token between the quotes of the line that begins with token=, then run this again." >&2
    exit 1
    ;;
esac
if ! command -v node >/dev/null 2>&1; then
  echo "node is missing. Install Node.js LTS from https://nodejs.org, then run this again." >&2
  exit 1
fi
folder="${CLAUDE_CONFIG_DIR:-$HOME/.claude}"
settings="$folder/settings.json"
mkdir -p "$folder"
if [ ! -w "$folder" ] || { [ -e "$settings" ] && [ ! -w "$settings" ]; }; then
  echo "$settings cannot be written. Make it yours, then run this again: sudo chown -R $(id -un) '$folder'" >&2
  exit 1
fi
SETTINGS_FILE="$settings" SETTINGS_TOKEN="$token" node - <<'JS'
const fs = require("fs");
const file = process.env.SETTINGS_FILE;
const wanted = {{ environment }};
wanted.ANTHROPIC_AUTH_TOKEN = process.env.SETTINGS_TOKEN;
const before = fs.existsSync(file) ? fs.readFileSync(file, "utf8") : "";
let settings = {};
try {
  settings = before.trim() ? JSON.parse(before) : {};
} catch (error) {
  console.error(`${file} is not JSON (${error.message}). Mend it or move it away, then run this again.`);
  process.exit(1);
}
const after = JSON.stringify({ ...settings, env: { ...settings.env, ...wanted } }, null, 2) + "\n";
if (after === before) {
  console.log(`{{ brand.provider_name }} is set up already in ${file}.`);
} else {
  if (before) {
    const backup = `${file}.backup.${Date.now()}`;
    fs.writeFileSync(backup, before, { mode: 0o600 });
    console.log(`Your settings from before are kept as ${backup}.`);
  }
  fs.writeFileSync(file, after, { mode: 0o600 });
  fs.chmodSync(file, 0o600);
  console.log(`{{ brand.provider_name }} is set up in ${file}. Start with: claude`);
}
JS
