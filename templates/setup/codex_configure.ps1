$ErrorActionPreference = "Stop"
$Token = '{{ placeholder }}'
if ($Token -notmatch '^[A-Za-z0-9._~+/=-]+$') {
  throw 'Put your token between the quotes of the line that begins with $Token, then run this again.'
}
$Folder = if ($env:CODEX_HOME) { $env:CODEX_HOME } else { Join-Path $env:USERPROFILE ".codex" }
$Config = Join-Path $Folder "config.toml"
New-Item -ItemType Directory -Force -Path $Folder | Out-Null
$New = @"
{{ toml }}
"@
$New = $New.Replace("`r`n", "`n") + "`n"
$Old = if (Test-Path $Config) { [System.IO.File]::ReadAllText($Config).Replace("`r`n", "`n") } else { "" }
if ($Old.StartsWith($New, [System.StringComparison]::Ordinal)) {
  Write-Host "{{ brand.provider_name }} is set up already in $Config."
} else {
  if (Test-Path $Config) {
    $Backup = "$Config.backup.$((Get-Date).ToString('yyyyMMddHHmmssfff'))"
    Copy-Item $Config $Backup
    Write-Host "Your configuration from before is kept as $Backup."
  }
  [System.IO.File]::WriteAllText($Config, $New, (New-Object System.Text.UTF8Encoding($false)))
  Write-Host "{{ brand.provider_name }} is set up in $Config. Start with: codex --search"
}
