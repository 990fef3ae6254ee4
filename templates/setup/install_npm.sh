where=$(npm root -g)
while [ ! -e "$where" ]; do where=$(dirname "$where"); done
if [ -w "$where" ]; then
  npm install -g {{ package }} </dev/null
else
  echo "npm's global folder belongs to another user; installing with sudo."
  sudo npm install -g {{ package }} </dev/null
fi
