$ErrorActionPreference = "Stop"
foreach ($Need in @(@("node", "OpenJS.NodeJS.LTS"), @("git", "Git.Git"))) {
  if (-not (Get-Command $Need[0] -ErrorAction SilentlyContinue)) {
    winget install --id $Need[1] -e --accept-package-agreements --accept-source-agreements
    if ($LASTEXITCODE -ne 0) { throw "Installing $($Need[1]) failed. Install it by hand, then run this again." }
  }
}
$env:Path = @("Machine", "User" | ForEach-Object { [Environment]::GetEnvironmentVariable("Path", $_) }) -join ";"
if ((Get-ExecutionPolicy) -eq "Restricted") {
  Set-ExecutionPolicy -Scope CurrentUser RemoteSigned -Force
  Write-Host "Programs that npm installs may now run in your PowerShell (execution policy RemoteSigned, for you alone)."
}
