npm.cmd install -g {{ package }}
if ($LASTEXITCODE -ne 0) { throw "npm could not install {{ package }}; its message stands above." }
