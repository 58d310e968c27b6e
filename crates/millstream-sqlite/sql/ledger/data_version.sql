-- Changes when another connection has committed. Touches no table.
PRAGMA data_version;
