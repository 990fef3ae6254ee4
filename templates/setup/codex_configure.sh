set -eu
umask 077
token='{{ placeholder }}'
case "$token" in
  '' | *[!A-Za-z0-9._~+/=-]*)
    echo "Put your token between the quotes of the line that begins with token=, then run this again." >&2
    exit 1
    ;;
esac
folder="${CODEX_HOME:-$HOME/.codex}"
config="$folder/config.toml"
mkdir -p "$folder"
if [ ! -w "$folder" ] || { [ -e "$config" ] && [ ! -w "$config" ]; }; then
  echo "$config cannot be written. Make it yours, then run this again: sudo chown -R $(id -un) '$folder'" >&2
  exit 1
fi
new="$config.new.$$"
trap 'rm -f "$new"' EXIT
cat > "$new" <<TOML
{{ toml }}
TOML
lines=$(($(wc -l < "$new")))
if [ -e "$config" ] && head -n "$lines" "$config" | cmp -s - "$new"; then
  echo "{{ brand.provider_name }} is set up already in $config."
else
  if [ -e "$config" ]; then
    backup="$config.backup.$(date +%Y%m%d%H%M%S).$$"
    cp -p "$config" "$backup"
    echo "Your configuration from before is kept as $backup."
  fi
  cat "$new" > "$config"
  chmod 600 "$config"
  echo "{{ brand.provider_name }} is set up in $config. Start with: codex --search"
fi
